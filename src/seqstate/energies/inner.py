"""Inner product: E = -scale <h, w>. What every common language model uses; rank at most D + 1.

With a bias and a softmax this is the usual output layer, whose log-probability matrix has rank at most
D + 1 after centring its rows ("softmax bottleneck", Yang et al. 2018, https://arxiv.org/abs/1711.03953).
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from seqstate.energies._product import Product


class Inner(Product):
    """scale: fixed factor on the products (1: as an output layer, 1/sqrt(D): as in attention).

    start: length of a fresh word vector. A short one under a large scale makes words that are not learnt yet
    say little, and an Adam step count for more: scale=16, start=0.0625 trains untied narrow heads faster.
    """

    def __init__(self, *, width: int = 128, scale: float = 1.0, start: float = 1.0) -> None:
        super().__init__()
        if start <= 0:
            raise ValueError(f"start={start}, but the length of a fresh word vector is above 0")
        self.width, self.scale, self.start = width, scale, start

    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return query if self.scale == 1 else self.scale * query

    def key_side(self, keys: Float[Tensor, "*K C D"]) -> tuple[Float[Tensor, "*K C D"], None]:
        return keys, None

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        nn.init.normal_(keys, std=self.start / math.sqrt(self.width))

    def start_as_inner(self, sharpness: float) -> None:
        if self.scale != 1:
            raise ValueError(f"scale={self.scale} changes the logits; replace a layer with scale=1")
