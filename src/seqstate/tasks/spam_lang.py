"""SpamLang: every sequence repeats one symbol; trivial but for the size of the vocabulary.

Godey & Artzi 2026 (https://arxiv.org/abs/2603.10145): with a linear output layer the pattern is learnt more
and more slowly, and beyond some V not at all, because the layer loses most of the logit gradient. The figure
of merit is the largest vocabulary a model learns at a fixed budget. Asked from the first token on, which
names the answer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.task import Batch, Task, certain, generator


class SpamLang(Task):
    """symbols: vocabulary size, drawn uniformly. length: of a sequence."""

    entropy = 0.0

    def __init__(self, *, symbols: int = 1024, length: int = 16) -> None:
        if symbols < 2 or length < 1:
            raise ValueError(
                f"wanted symbols >= 2 and length >= 1, found symbols={symbols}, length={length}"
            )
        self.vocab_size, self.length, self.chance = symbols, length, 1 / symbols

    def sample(self, size: int, seed: int) -> Batch:
        symbol = torch.randint(self.vocab_size, (size, 1), generator=generator(seed))
        tokens = symbol.repeat(1, self.length)
        return Batch(tokens, tokens.clone())

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        return certain(tokens, self.vocab_size)
