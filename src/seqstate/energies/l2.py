"""Squared distance: E = tau distance(h, w)^2. Under a softmax an inner product: rank <= D + 1.

|h - w|^2 = |h|^2 - 2 <h, w> + |w|^2, where the first term is the same for all words and cancels, and the
last is a bias: what is left is 2 tau <h, w> with a penalty on long words. As an energy for attention it is
the distance itself. tau = 1/2 starts it as `inner`, with words of length 1.
RBF networks: Broomhead & Lowe 1988; L2 attention: Kim et al. 2021, https://arxiv.org/abs/2006.04710.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.energies._features import even_lengths_, squared_distance
from seqstate.energies._product import Product


class L2(Product):
    """tau: start of the learnt factor on the squared distance."""

    def __init__(self, *, width: int = 128, tau: float = 0.5) -> None:
        super().__init__()
        self.width = width
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return self.log_tau.exp() * squared_distance(query, keys)

    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return 2 * self.log_tau.exp() * query

    def key_side(
        self, keys: Float[Tensor, "*K C D"]
    ) -> tuple[Float[Tensor, "*K C D"], Float[Tensor, "*K C"]]:
        return keys, -self.log_tau.exp() * keys.square().sum(-1)

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        even_lengths_(keys, 1)
