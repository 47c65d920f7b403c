"""Multi-vector Hamming (the essay's flagship): E = sum_g tau_g sigmoid(-(a_g <h_g, w_g> + b_g)).

A word has G features, each a vector of K = D / G numbers. Inside a feature an inner product says how well
state and word agree, a sigmoid turns that into a soft bit "this feature misses", and the misses are added
(L1): a feature can cost at most tau_g and can never buy back another's miss. Since
sigmoid(-x) = 1 - sigmoid(x), the logit is sum_g tau_g sigmoid(a_g <h_g, w_g> + b_g) up to a constant.

tau = 4, a = 1, b = 0 starts it as an inner product (its slope at zero is tau a / 4 = 1). Inner arguments are
clamped to +-30. The rank is not limited by D; only bits saturated on both sides (K = 1) fall back to G + 1.
Source: catsmile.info/3002 (2022). Related: continuous Hamming distance, math.stackexchange 4390080.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Energy

CLAMP = 30.0


class MultiHamming(Energy):
    """groups: features G (must divide the width). tau, a: start of the learnt scale and sharpness."""

    def __init__(
        self, *, width: int = 128, groups: int = 8, tau: float = 4.0, a: float = 1.0
    ) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(
                f"width {width} is not a multiple of groups {groups}; "
                f"try groups={math.gcd(width, groups)}"
            )
        self.width, self.groups = width, groups
        self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        energy = 0.0
        features = zip(
            query.chunk(self.groups, -1),
            keys.chunk(self.groups, -1),
            self.log_tau.exp(),
            self.log_a.exp(),
            self.b,
            strict=True,
        )
        for query_g, keys_g, tau, a, b in features:  # one G at a time: T x C alive, not T x C x G
            match = (query_g @ keys_g.transpose(-1, -2)).mul(a).add(b).clamp(-CLAMP, CLAMP)
            energy = energy + tau * torch.sigmoid(-match)
        return energy
