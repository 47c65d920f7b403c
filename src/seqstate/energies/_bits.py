"""What keeps soft bits worth having: a penalty on bits that are always alike or that repeat one another.

Not a part (its name starts with an underscore).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SOFTENED = 1e-3  # variance below which a constant bit's correlations count for little


def uneven(bits: Float[Tensor, "... G"]) -> Float[Tensor, ""]:
    """Imbalance plus redundancy of G soft bits over their samples, each from 0 to 1.

    Imbalance: mean squared mean of the bits in -1..1. Redundancy: mean squared correlation of two bits.
    """
    signs = 2 * bits.flatten(0, -2) - 1
    mean = signs.mean(0)
    spread = signs - mean
    spread = spread * (spread.square().mean(0) + SOFTENED).rsqrt()
    correlations = spread.T @ spread / len(spread)
    off = correlations - torch.diag(correlations.diagonal())
    pairs = max(1, len(off) * (len(off) - 1))
    return mean.square().mean() + off.square().sum() / pairs
