"""k-hop induction: follow "what came after my symbol last time" k times, and say the symbol found.

find(i) is the position after the last earlier occurrence of the symbol at i; the answer at i is the symbol at
find(find(...find(i))), k times, asked where it exists. Defined by Sanford, Hsu & Telgarsky 2024
(https://arxiv.org/abs/2402.09268), who show that floor(log2 k) + 2 attention layers suffice; no symbol
repeats itself at once, as in their release. With `mixed`, as there, k is drawn anew for each sequence and
told by its first token: easy sequences teach the hard ones.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE
from seqstate.core.task import Batch, Task, certain, generator

NONE = -1


class KHop(Task):
    """hops: k. length: symbols a sequence. symbols: alphabet size. mixed: k from 0 to hops, told first."""

    entropy = 0.0

    def __init__(
        self, *, hops: int = 2, length: int = 100, symbols: int = 4, mixed: bool = False
    ) -> None:
        if hops < 1 or symbols < 3 or length < hops + 2:
            raise ValueError(
                f"wanted hops >= 1, symbols >= 3 and length >= hops + 2, found hops={hops}, "
                f"symbols={symbols}, length={length}"
            )
        self.hops, self.length, self.symbols, self.mixed = hops, length, symbols, mixed
        self.vocab_size = symbols + (hops + 1) * mixed
        self.chance = 1 / symbols

    def sample(self, size: int, seed: int) -> Batch:
        """Tags: `hops` of the sequence; `pointer`: find(i) at each position, -1 if there is none."""
        draw = generator(seed)
        first = torch.randint(self.symbols, (size, 1), generator=draw)
        steps = torch.randint(1, self.symbols, (size, self.length - 1), generator=draw)
        symbols = torch.cat([first, steps], 1).cumsum(1) % self.symbols  # a step is never 0
        hops = torch.full((size, 1), self.hops)
        tokens = symbols
        if self.mixed:
            hops = torch.randint(self.hops + 1, (size, 1), generator=draw)
            tokens = torch.cat([self.symbols + hops, symbols], 1)
        tags = {"hops": hops.expand_as(tokens).contiguous(), "pointer": self._find(tokens)}
        return Batch(tokens, self._answers(tokens), tags)

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        return certain(self._answers(tokens), self.vocab_size)

    def _answers(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        find = self._find(tokens)
        where = torch.arange(tokens.shape[1]).expand_as(tokens)
        where = where.where(tokens < self.symbols, torch.tensor(NONE))
        hops = tokens[:, :1] - self.symbols if self.mixed else torch.tensor(self.hops)
        for hop in range(self.hops):
            further = find.gather(1, where.clamp(min=0)).where(where != NONE, torch.tensor(NONE))
            where = torch.where(hop < hops, further, where)
        found = tokens.gather(1, where.clamp(min=0))
        return found.where(where != NONE, torch.tensor(IGNORE))

    def _find(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The position after the last earlier occurrence of each token; NONE if there is none."""
        last = torch.full((len(tokens), self.vocab_size), NONE)
        out = torch.full_like(tokens, NONE)
        for t in range(tokens.shape[1]):
            now = tokens[:, t : t + 1]
            before = last.gather(1, now)
            out[:, t : t + 1] = torch.where(before == NONE, before, before + 1)
            last.scatter_(1, now, t)
        return out
