"""Scaled inner product: E = -s <h, w>, its scale s learnt. The inner product at its best; rank <= D + 1.

What a fixed scale gets wrong a learnt one mends in a few hundred steps, at no cost: words start short under
a large scale (see `inner`), and the scale falls as they grow. It is what an energy with learnt scalars has to
be compared with, or the scalars are taken for the energy. (A learnt temperature as in CLIP, Radford et al.
2021, https://arxiv.org/abs/2103.00020, without their normalisation: that is `cosine`.)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.energies._product import Product


class ScaledInner(Product):
    """scale: start of the learnt factor on the products. start: length of a fresh word vector."""

    def __init__(self, *, width: int = 128, scale: float = 16.0, start: float = 0.0625) -> None:
        super().__init__()
        if scale <= 0 or start <= 0:
            raise ValueError(
                f"scale={scale}, start={start}: both a factor and a length are above 0"
            )
        self.width, self.start = width, start
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return self.log_scale.exp() * query

    def key_side(self, keys: Float[Tensor, "*K C D"]) -> tuple[Float[Tensor, "*K C D"], None]:
        return keys, None

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        nn.init.normal_(keys, std=self.start / math.sqrt(self.width))

    def start_as_inner(self, sharpness: float) -> None:
        with torch.no_grad():
            self.log_scale.zero_()
