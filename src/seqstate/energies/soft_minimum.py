"""Soft minimum over features: E = t log mean_g exp(-s_g / t), s_g = a_g <h_g, w_g> + b_g.

The temperature t leads from the mean of the features (t large: an inner product) to the lowest of them
(t to 0: `minimum`); every feature receives its share of the gradient. t is a buffer, not learnt, kept with
the weights: lower `temperature` over training to anneal (`energy.temperature.fill_(t)`).
Source: catsmile.info/3002 (2022), softened. a = 8 starts the mean of 8 groups as an inner product.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy
from seqstate.energies._features import check_groups, feature_max


class SoftMinimum(Energy):
    """groups: features G (must divide the width). a: start of the learnt scales. temperature: t > 0."""

    temperature: Tensor

    def __init__(
        self, *, width: int = 128, groups: int = 8, a: float = 8.0, temperature: float = 1.0
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        if temperature <= 0:
            raise ValueError(
                f"temperature={temperature}, but it must be positive; use `minimum` at 0"
            )
        self.width, self.groups = width, groups
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        scalars = (self.log_a.exp(), self.b)
        return feature_max(_miss, self.groups, self.temperature.item(), query, keys, *scalars)

    def start_as_inner(self, sharpness: float) -> None:
        with torch.no_grad():
            self.log_a.fill_(math.log(self.groups))
            self.b.zero_()
            self.temperature.fill_(1 / sharpness)

    def rank_bound(self) -> int | None:
        return self.width + 1 if self.groups == 1 else None


def _miss(query_g: Tensor, keys_g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -(a * (query_g @ keys_g.transpose(-1, -2)) + b)
