"""Radial basis functions, one a feature: E = -sum_g tau_g exp(-a_g distance(h_g, w_g)^2).

A feature rewards a word by up to tau_g, only where state and word nearly coincide in it, and a far feature
costs no more than a near miss: the peaked counterpart of `multi_hamming`. As a_g goes to 0 with tau_g a_g
fixed it becomes `l2`.
Source: Broomhead & Lowe 1988; per group after the essay (catsmile.info/3002, 2022). Sensitive to its start:
tau of 0.5 to 1, a of 1 and short vectors keep the peaks wide enough to be felt.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Energy, HasBits
from seqstate.energies._features import (
    check_groups,
    even_lengths_,
    feature_sum,
    squared_distance,
)


class RBF(Energy, HasBits):
    """groups: features G (must divide the width). tau, a: start of the learnt height and sharpness."""

    def __init__(
        self, *, width: int = 128, groups: int = 8, tau: float = 1.0, a: float = 1.0
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        self.width, self.groups = width, groups
        self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        scalars = (self.log_tau.exp(), self.log_a.exp())
        return feature_sum(_peak, self.groups, query, keys, *scalars)

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        query, keys, bias = native.widened(query, keys, bias)
        if native.usable(query, keys, bias, self.log_a):
            scalars = (self.log_tau.exp(), self.log_a.exp())
            return native.cross_entropy_rbf(query, keys, *scalars, bias, targets)
        return super().nll(query, keys, bias, targets)

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        even_lengths_(keys, self.groups)

    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C D"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        features = zip(
            query.chunk(self.groups, -1),
            keys.chunk(self.groups, -1),
            self.log_a.exp(),
            strict=True,
        )
        peaks = [torch.exp(-a * squared_distance(q, k)) for q, k, a in features]
        return {"match": torch.stack(peaks, -1)}


def _peak(query_g: Tensor, keys_g: Tensor, tau: Tensor, a: Tensor) -> Tensor:
    return -tau * torch.exp(-a * squared_distance(query_g, keys_g))
