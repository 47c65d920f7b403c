"""Sigsoftmax: p(v) ~ exp(z_v) sigmoid(z_v), z_v = <h, w_v> + bias_v. Not limited to rank D + 1.

Computed as a softmax over z + logsigmoid(z), which is finite for every z (a product of exp and sigmoid
under- and overflows). The bend sits at z = 0: far above it is a softmax, far below one of 2 z.
Source: Kanai, Fujiwara, Yamanaka & Adachi 2018, https://arxiv.org/abs/1805.10829 (no learnt number is
added).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seqstate.energies._pointwise import PointwiseHead


class SigSoftmax(PointwiseHead):
    """No options: the curve has no number to choose or to learn."""

    def __init__(self, *, width: int = 128, vocab_size: int) -> None:
        super().__init__(width, vocab_size)

    def bend(self, z: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return z + F.logsigmoid(z)
