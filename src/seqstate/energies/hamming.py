"""Continuous Hamming distance: E = sum_d tau_d D(a_d abs(h_d - w_d)), D from 0 to 1.

Every one of the D numbers is a dimension that can be missed and costs at most tau_d. The distance D is
`tanh`; `exponential`, 1 - exp(-x); `clipped`, min(x, 1); or `squashed`, where a sigmoid comes first on each
side and L1 after it: E = sum_d tau_d |sigmoid(a_d h_d + b_d) - sigmoid(a_d w_d + b_d)|, with the same limits.
On hard bits all four are the Hamming distance, |h - w| = h + w - 2 h w: linear in the codes, rank D + 1.
Between bits, the kink at h_d = w_d lifts that bound. As output layers, squashed, clipped, exponential and
tanh take 1 : 1.3 : 1.5 : 2.5 of the time (fused, D = 64), the first twice that of the inner product.
Source: catsmile.info/3002 (2022); math.stackexchange 4390080 for D of the difference.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd import forward_ad

from seqstate import native
from seqstate.core.energy import Energy, HasBits, HasCodes
from seqstate.energies._features import feature_sum
from seqstate.native.tiles import DISTANCES


class Hamming(Energy, HasBits, HasCodes):
    """distance: tanh, exponential, clipped or squashed. tau, a: start of the learnt cost and sharpness."""

    def __init__(
        self, *, width: int = 128, distance: str = "tanh", tau: float = 1.0, a: float = 1.0
    ) -> None:
        super().__init__()
        if distance not in (*DISTANCES, "squashed"):
            raise ValueError(f"distance={distance!r}; there are {', '.join(DISTANCES)}, squashed")
        self.width, self.distance = width, distance
        self.log_tau = nn.Parameter(torch.full((width,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((width,), math.log(a)))
        if distance == "squashed":
            self.b = nn.Parameter(torch.zeros(width))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        tau = self.log_tau.exp()
        if self.distance == "squashed":
            return _l1(tau * self._squash(query), tau * self._squash(keys))
        distance = DISTANCES[self.distance]

        def miss(query_d, keys_d, tau_d, a_d):
            return tau_d * distance(a_d * (query_d - keys_d.transpose(-1, -2)).abs())

        return feature_sum(miss, self.width, query, keys, tau, self.log_a.exp())

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        query, keys, bias = native.widened(query, keys, bias)
        if not native.usable(query, keys, bias, self.log_a):
            return super().nll(query, keys, bias, targets)
        tau = self.log_tau.exp()
        if self.distance == "squashed":
            sides = tau * self._squash(query), tau * self._squash(keys)
            return native.cross_entropy_l1(*sides, bias, targets)
        scalars = tau, self.log_a.exp()
        return native.cross_entropy_hamming(
            query, keys, *scalars, bias, targets, distance=self.distance
        )

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        """Words of one L1 length, so that they start equal for a state at the origin."""
        nn.init.normal_(keys)
        length = keys.abs().mean(-1, keepdim=True)
        keys.mul_(math.sqrt(2 / math.pi / self.width) / length)  # the mean |w_d| of std 1/sqrt(D)

    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C D"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        if self.distance == "squashed":
            return {"query": self._squash(query), "word": self._squash(keys)}
        gap = (query.unsqueeze(1) - keys).abs()
        return {"match": 1 - DISTANCES[self.distance](self.log_a.exp() * gap)}

    def query_code(
        self, query: Float[Tensor, "R D"]
    ) -> tuple[Bool[Tensor, "R G"], Float[Tensor, "R G"], Float[Tensor, " R"]]:
        # between a number and one on the other side of 1/2 there is at least its own way to 1/2
        over = self._squash(query) - 0.5
        return over > 0, self.log_tau.exp() * over.abs(), over.new_zeros(len(over))

    def key_code(self, keys: Float[Tensor, "C D"]) -> Bool[Tensor, "C G"]:
        if self.distance != "squashed":
            raise ValueError(f"distance={self.distance!r} has no bits on each side; use 'squashed'")
        return self._squash(keys) > 0.5

    def _squash(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.log_a.exp() * x + self.b)


def _l1(x: Float[Tensor, "*Q T D"], y: Float[Tensor, "*K C D"]) -> Float[Tensor, "*E T C"]:
    if forward_ad.unpack_dual(x).tangent is None:
        return torch.cdist(x, y, p=1.0)
    # torch has no forward-mode rule for cdist
    return feature_sum(lambda a, b: (a - b.transpose(-1, -2)).abs(), x.shape[-1], x, y)
