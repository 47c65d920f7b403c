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
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.energies._product import Product

SOFT = 1e-8


class Cosine(Product):
    """tau: start of the learnt inverse temperature (logits lie in -tau..tau)."""

    def __init__(self, *, width: int = 128, tau: float = 5.0) -> None:
        super().__init__()
        self.width = width
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))

    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return self.log_tau.exp() * _unit(query)

    def key_side(self, keys: Float[Tensor, "*K C D"]) -> tuple[Float[Tensor, "*K C D"], None]:
        return _unit(keys), None


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + SOFT)
