"""What heads with a plain word table share: V vectors of D numbers and one bias a word.

Not a part (its name starts with an underscore): heads that are no pairwise energy build on it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import Head


class WordHead(Head):
    """A head with `weight` [V, D] and `bias` [V], which starts at the unigrams."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.width, self.vocab_size = width, vocab_size
        self.weight = nn.Parameter(torch.empty(vocab_size, width))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.weight, std=1 / math.sqrt(width))

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        with torch.no_grad():
            self.bias.copy_(log_unigram)

    def table(self) -> nn.Parameter | None:
        return self.weight


def linear(width: int, out: int, *, bias: bool = False) -> nn.Linear:
    """A linear map that keeps the scale of its input (std 1/sqrt(D)) and starts without bias."""
    layer = nn.Linear(width, out, bias=bias)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(width))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
