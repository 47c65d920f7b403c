"""Squared distance: E = tau distance(h, w)^2. Under a softmax an inner product: rank <= D + 1.

|h - w|^2 = |h|^2 - 2 <h, w> + |w|^2, where the first term is the same for all words and cancels, and the
last is a bias: what is left is 2 tau <h, w> with a penalty on long words. As an energy for attention it is
the distance itself. tau = 1/2 starts it as `inner`, with words of length 1.
RBF networks: Broomhead & Lowe 1988; L2 attention: Kim et al. 2021, https://arxiv.org/abs/2006.04710.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Energy
from seqstate.energies._features import even_lengths_, squared_distance


class L2(Energy):
    """tau: start of the learnt factor on the squared distance."""

    def __init__(self, *, width: int = 128, tau: float = 0.5) -> None:
        super().__init__()
        self.width = width
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return self.log_tau.exp() * squared_distance(query, keys)

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        tau = self.log_tau.exp()
        length = -tau * keys.square().sum(-1)  # |h|^2 is left out: it cancels
        bias = length if bias is None else bias + length
        return native.cross_entropy_inner(2 * tau * query, keys, bias, targets)

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        even_lengths_(keys, 1)

    def rank_bound(self) -> int | None:
        return self.width + 1
