"""Inner product: E = -scale <h, w>. What every common language model uses; rank at most D + 1.

With a bias and a softmax this is the usual output layer, whose log-probability matrix has rank at most
D + 1 after centring its rows ("softmax bottleneck", Yang et al. 2018, https://arxiv.org/abs/1711.03953).
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Energy


class Inner(Energy):
    """scale: fixed factor on the products (1: as an output layer, 1/sqrt(D): as in attention).

    start: length of a fresh word vector. A short one under a large scale makes words that are not learnt yet
    say little, and an Adam step count for more: scale=16, start=0.0625 trains untied narrow heads faster.
    """

    def __init__(self, *, width: int = 128, scale: float = 1.0, start: float = 1.0) -> None:
        super().__init__()
        if start <= 0:
            raise ValueError(f"start={start}, but the length of a fresh word vector is above 0")
        self.width, self.scale, self.start = width, scale, start

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        return -self.scale * (query @ keys.transpose(-1, -2))

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        return native.cross_entropy_inner(query, keys, bias, targets, scale=self.scale)

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        nn.init.normal_(keys, std=self.start / math.sqrt(self.width))

    def start_as_inner(self, sharpness: float) -> None:
        if self.scale != 1:
            raise ValueError(f"scale={self.scale} changes the logits; replace a layer with scale=1")

    def rank_bound(self) -> int | None:
        return self.width + 1
