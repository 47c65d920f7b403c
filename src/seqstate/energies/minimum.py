"""The worst feature decides: E = -min_g (a_g <h_g, w_g> + b_g). A miss can not be bought back.

The essay's first idea: words must pass every feature, so take the lowest inner product, not the sum. Only
the deciding feature of a pair receives a gradient. Full rank, and a poor fit for all that: rank is not
quality. `soft_minimum` lets all features learn.
Source: catsmile.info/3002 (2022). a = 4 starts it about as steep as an inner product over 8 groups.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy
from seqstate.energies._features import check_groups, feature_max


class Minimum(Energy):
    """groups: features G (must divide the width). a: start of the learnt scale of each feature."""

    def __init__(self, *, width: int = 128, groups: int = 8, a: float = 4.0) -> None:
        super().__init__()
        check_groups(width, groups)
        self.width, self.groups = width, groups
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return feature_max(_miss, self.groups, 0.0, query, keys, self.log_a.exp(), self.b)

    def rank_bound(self) -> int | None:
        return self.width + 1 if self.groups == 1 else None


def _miss(query_g: Tensor, keys_g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -(a * (query_g @ keys_g.transpose(-1, -2)) + b)
