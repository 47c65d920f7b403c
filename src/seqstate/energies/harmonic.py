"""Harmonic: p(v) ~ distance(h, w_v)^-n exp(bias_v). Scale-free; rank not limited by D.

E = n log |h - w|.

A word is certain only where the state *is* the word; far away, all words are alike. The distance is softened,
|h - w|^2 + 1e-4, so that a state on top of a word has a finite energy and a gradient of zero there.
Source: Baek, Liu, Tyagi & Tegmark 2025, "Harmonic loss trains interpretable AI models",
https://arxiv.org/abs/2502.01628 (there the exponent is chosen, here it is learnt).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy
from seqstate.energies._features import even_lengths_, squared_distance

SOFT = 1e-4


class Harmonic(Energy):
    """n: start of the learnt exponent."""

    def __init__(self, *, width: int = 128, n: float = 10.0) -> None:
        super().__init__()
        self.width = width
        self.log_n = nn.Parameter(torch.tensor(math.log(n)))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return self.log_n.exp() / 2 * (squared_distance(query, keys) + SOFT).log()

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        even_lengths_(keys, 1)
