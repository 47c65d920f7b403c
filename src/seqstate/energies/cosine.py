"""Cosine: E = -tau cos(h, w) with a learnt temperature 1 / tau. Rank at most D + 1.

E = -tau <h, w> / (|h| |w|).

Neither the state nor a word can win by growing longer: confidence is tau, one number for all. With tau fixed
no probability exceeds 1 / (1 + (V - 1) exp(-2 tau)). Lengths are softened, sqrt(|x|^2 + 1e-8), so that a
vector near the origin has a finite gradient. As in normalised softmax losses (NormFace, Wang et al. 2017,
https://arxiv.org/abs/1704.06369) and in QK-norm (Henry et al. 2020, https://arxiv.org/abs/2010.04245).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Energy

SOFT = 1e-8


class Cosine(Energy):
    """tau: start of the learnt inverse temperature (logits lie in -tau..tau)."""

    def __init__(self, *, width: int = 128, tau: float = 5.0) -> None:
        super().__init__()
        self.width = width
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return -self.log_tau.exp() * (_unit(query) @ _unit(keys).transpose(-1, -2))

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        scaled = self.log_tau.exp() * _unit(query)
        return native.cross_entropy_inner(scaled, _unit(keys), bias, targets)

    def rank_bound(self) -> int | None:
        return self.width + 1


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + SOFT)
