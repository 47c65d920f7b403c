"""Soft minimum over features: E = t log mean_g exp(-s_g / t), s_g = a_g <h_g, w_g> + b_g.

The temperature t leads from the mean of the features (t large: an inner product) to the lowest of them
(t to 0: `minimum`); every feature receives its share of the gradient. t is a buffer, not learnt, kept with
the weights: `anneal` divides it by up to that factor over a training.
Source: catsmile.info/3002 (2022), softened. a = 8 starts the mean of 8 groups as an inner product.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy
from seqstate.core.schedule import Scheduled, geometric
from seqstate.energies._features import check_groups, feature_max


class SoftMinimum(Energy, Scheduled):
    """groups: features G (must divide the width). a: start of the learnt scales. temperature: t > 0.

    anneal: how many times lower the temperature is at the end of a training (1: not scheduled).
    """

    temperature: Tensor

    def __init__(
        self,
        *,
        width: int = 128,
        groups: int = 8,
        a: float = 8.0,
        temperature: float = 1.0,
        anneal: float = 1.0,
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        if temperature <= 0:
            raise ValueError(
                f"temperature={temperature}, but it must be positive; use `minimum` at 0"
            )
        if anneal <= 0:
            raise ValueError(f"anneal={anneal}, but a temperature is divided by it: it is above 0")
        self.width, self.groups = width, groups
        self.first, self.anneal = temperature, anneal
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        scalars = (self.log_a.exp(), self.b)
        return feature_max(_miss, self.groups, self.temperature.item(), query, keys, *scalars)

    def schedule(self, share: float) -> None:
        if self.anneal != 1:
            self.temperature.fill_(geometric(self.first, self.first / self.anneal, share))

    def start_as_inner(self, sharpness: float) -> None:
        with torch.no_grad():
            self.log_a.fill_(math.log(self.groups))
            self.b.zero_()
            self.first = 1 / sharpness
            self.temperature.fill_(self.first)

    def rank_bound(self) -> int | None:
        return self.width + 1 if self.groups == 1 else None


def _miss(query_g: Tensor, keys_g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return -(a * (query_g @ keys_g.transpose(-1, -2)) + b)
