"""Copy: repeat a random string after a separator; what is kept must grow with its length.

    a b c d | a b c d        targets  . . . . a b c d .     (. = not asked)

Any state of fewer than length x log2(symbols) bits must fail (Jelassi et al. 2024, "Repeat after me").
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE
from seqstate.core.task import Batch, Task, certain, generator


class Copy(Task):
    """length: symbols to repeat. symbols: alphabet size; the separator is the token after the last."""

    entropy = 0.0

    def __init__(self, *, length: int = 32, symbols: int = 16) -> None:
        if length < 1 or symbols < 2:
            raise ValueError(
                f"wanted length >= 1 and symbols >= 2, found length={length}, symbols={symbols}"
            )
        self.length, self.symbols = length, symbols
        self.vocab_size, self.chance = symbols + 1, 1 / symbols

    def sample(self, size: int, seed: int) -> Batch:
        """Sequences of 2 length + 1 tokens. Tag `place`: which symbol is asked, from 0; -1 elsewhere."""
        drawn = torch.randint(self.symbols, (size, self.length), generator=generator(seed))
        bar = torch.full((size, 1), self.symbols)
        tokens = torch.cat([drawn, bar, drawn], 1)
        targets = torch.full_like(tokens, IGNORE)
        targets[:, self.length : -1] = drawn
        place = torch.full_like(tokens, -1)
        place[:, self.length : -1] = torch.arange(self.length)
        return Batch(tokens, targets, {"place": place})

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        time = torch.arange(tokens.shape[1])
        seen = (tokens == self.symbols).cumsum(1)
        bar = (seen == 0).sum(1, keepdim=True)  # the separator's place, the length if there is none
        place = time - bar
        asked = (seen > 0) & (place < bar)
        answers = tokens.gather(1, place.clamp(min=0)).where(asked, torch.tensor(IGNORE))
        return certain(answers, self.vocab_size)
