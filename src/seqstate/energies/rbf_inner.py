"""Radial basis functions plus inner product: `rbf` - alpha <h, w>, with the same vectors.

The same vectors serve twice: the inner product carries the gradient where every peak is out of reach, the
peaks lift the rank above D + 1. alpha is learnt.
Source: Broomhead & Lowe 1988 for the peaks; the sum fitted real bigram tables best in this project's
prototypes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy
from seqstate.energies._features import (
    check_groups,
    even_lengths_,
    feature_sum,
    squared_distance,
)


class RBFInner(Energy):
    """groups: features G. tau, a: start of the learnt height and sharpness. alpha: of the inner product."""

    def __init__(
        self,
        *,
        width: int = 128,
        groups: int = 8,
        tau: float = 1.0,
        a: float = 1.0,
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        self.width, self.groups = width, groups
        self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        def term(query_g, keys_g, tau, a):
            return -tau * torch.exp(-a * squared_distance(query_g, keys_g))

        scalars = (self.log_tau.exp(), self.log_a.exp())
        peaks = feature_sum(term, self.groups, query, keys, *scalars)
        return peaks - self.alpha * (query @ keys.transpose(-1, -2))

    def start_as_inner(self, sharpness: float) -> None:
        with torch.no_grad():
            self.log_tau.fill_(math.log(sharpness))  # low peaks
            self.alpha.fill_(1.0)

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        even_lengths_(keys, self.groups)
