"""Heads that bend the usual logits: logit_v = f(<h, w_v> + bias_v) with f increasing.

Not a part (its name starts with an underscore): `sigsoftmax`, `gss` and `plif` are.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seqstate.energies._words import WordHead

REACH = 1e4  # biases looked for when a start is inverted


class PointwiseHead(WordHead):
    """One increasing function over every logit. The order of the words stays that of <h, w_v> + bias_v."""

    @abstractmethod
    def bend(self, z: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """f, elementwise: increasing, and onto the whole line."""

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return self.bend(F.linear(hidden, self.weight, self.bias))

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        z = (self.weight[words] @ hidden.unsqueeze(-1)).squeeze(-1)
        return self.bend(z + self.bias[words])

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        """Biases with f(bias) = log-unigram + ln V: a word of probability 1/V sits at f = 0."""
        wanted = log_unigram.double() + math.log(self.vocab_size)
        with torch.no_grad():
            self.bias.copy_(_inverse(self.bend, wanted))


def _inverse(function, wanted: Tensor) -> Tensor:
    """Where an increasing function takes these values, by bisection."""
    low, high = torch.full_like(wanted, -REACH), torch.full_like(wanted, REACH)
    for _ in range(80):
        middle = (low + high) / 2
        below = function(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high
