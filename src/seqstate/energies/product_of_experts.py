"""Product of experts: E = -sum_g tau_g log sigmoid(a_g <h_g, w_g> + b_g). Every feature may veto.

Feature g is an expert that gives the word the probability sigmoid(s_g); the probabilities are multiplied.
Unlike `multi_hamming`, a miss costs without limit (linearly in s_g) while a match earns at most nothing.
tau = 2, a = 1, b = 0 starts it as an inner product (slope tau a / 2 = 1). Rank not limited by D.
Source: Hinton 2002, "Training products of experts by minimizing contrastive divergence".
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.energy import Energy, HasBits
from seqstate.energies._features import check_groups, feature_sum


class ProductOfExperts(Energy, HasBits):
    """groups: experts G (must divide the width). tau, a: start of the learnt weight and sharpness."""

    def __init__(
        self, *, width: int = 128, groups: int = 8, tau: float = 2.0, a: float = 1.0
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        self.width, self.groups = width, groups
        self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        def doubt(query_g, keys_g, tau, a, b):
            return tau * F.softplus(-_agreement(query_g, keys_g, a, b))

        scalars = (self.log_tau.exp(), self.log_a.exp(), self.b)
        return feature_sum(doubt, self.groups, query, keys, *scalars)

    def start_as_inner(self, sharpness: float) -> None:
        with torch.no_grad():
            self.log_a.fill_(math.log(sharpness))
            self.log_tau.fill_(math.log(2 / sharpness))
            self.b.zero_()

    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C D"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        features = zip(
            query.chunk(self.groups, -1),
            keys.chunk(self.groups, -1),
            self.log_a.exp(),
            self.b,
            strict=True,
        )
        return {"match": torch.stack([_agreement(*one).sigmoid() for one in features], -1)}


def _agreement(query_g: Tensor, keys_g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return a * (query_g @ keys_g.transpose(-1, -2)) + b
