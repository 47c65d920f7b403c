"""The small networks that turn symbol vectors into probabilities (Kim et al. 2019)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Residual(nn.Module):
    """A linear map, two residual blocks of two rectified layers each, and a layer normalisation.

    The normalisation is ours: it bounds the logits, so that no rule's probability underflows to zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)


def vectors(count: int, width: int) -> nn.Parameter:
    """Random symbol vectors of unit variance."""
    return nn.Parameter(torch.randn(count, width))
