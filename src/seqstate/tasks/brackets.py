"""Brackets: balanced text of several kinds, to a bounded depth (Dyck-(k, m)); the state must be a stack.

Next-token prediction on text that opens with probability `opening` (always at depth 0, never at the largest
depth) and otherwise closes what was opened last. Which kind may close is certain, whether it closes is not:
the exact entropy is known. An m-deep stack of k kinds needs about m log2 k bits (Hewitt et al. 2020,
https://arxiv.org/abs/2010.07515); their figure, the share of closing brackets whose kind is right, by
distance, can be read at the positions tagged `distance` >= 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.task import Batch, Task, generator


class Brackets(Task):
    """kinds: k; tokens 0 ... k - 1 open, k ... 2k - 1 close. depth: largest. length: of a sequence."""

    def __init__(
        self, *, kinds: int = 4, depth: int = 8, length: int = 64, opening: float = 0.5
    ) -> None:
        if kinds < 1 or depth < 1 or length < 1 or not 0 < opening < 1:
            raise ValueError(
                f"wanted kinds, depth, length >= 1 and 0 < opening < 1, found kinds={kinds}, "
                f"depth={depth}, length={length}, opening={opening}"
            )
        self.kinds, self.depth, self.length, self.opening = kinds, depth, length, opening
        self.vocab_size = 2 * kinds
        self.entropy, opened = self._exact()
        self.chance = max(opened, 1 - opened) / kinds

    def sample(self, size: int, seed: int) -> Batch:
        """Tags: `depth` after each token; `distance` back to what the next token closes, -1 if it opens."""
        draw = generator(seed)
        rows = torch.arange(size)
        stack = torch.zeros(size, self.depth + 1, dtype=torch.long)  # kinds, by depth
        since = torch.zeros_like(stack)  # where they were opened
        level = torch.zeros(size, dtype=torch.long)
        tokens = torch.empty(size, self.length + 1, dtype=torch.long)
        depth, distance = torch.empty_like(tokens), torch.full_like(tokens, -1)
        chances = self._opening_by_depth()
        for t in range(self.length + 1):
            opens = torch.rand(size, generator=draw) < chances[level]
            kind = torch.randint(self.kinds, (size,), generator=draw)
            tokens[:, t] = torch.where(opens, kind, self.kinds + stack[rows, level])
            if t > 0:
                distance[:, t - 1] = torch.where(opens, -1, t - 1 - since[rows, level])
            level = level + opens.long() * 2 - 1
            stack[rows, level] = torch.where(opens, kind, stack[rows, level])
            since[rows, level] = torch.where(opens, t, since[rows, level])
            depth[:, t] = level
        tags = {"depth": depth[:, :-1].clone(), "distance": distance[:, :-1].clone()}
        return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone(), tags)

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        rows = torch.arange(len(tokens))
        stack = torch.zeros(len(tokens), self.depth + 1, dtype=torch.long)
        level = torch.zeros(len(tokens), dtype=torch.long)
        chances = self._opening_by_depth()
        out = torch.empty(*tokens.shape, self.vocab_size)
        for t in range(tokens.shape[1]):
            opens = tokens[:, t] < self.kinds
            level = (level + opens.long() * 2 - 1).clamp(0, self.depth)
            stack[rows, level] = torch.where(opens, tokens[:, t], stack[rows, level])
            chance = chances[level]
            out[:, t, : self.kinds] = (chance / self.kinds).unsqueeze(1)
            out[:, t, self.kinds :] = 0.0
            out[rows, t, self.kinds + stack[rows, level]] = 1 - chance
        return out.log()

    def _opening_by_depth(self) -> Float[Tensor, " M"]:
        chances = torch.full((self.depth + 1,), self.opening)
        chances[0], chances[-1] = 1.0, 0.0
        return chances

    def _exact(self) -> tuple[float, float]:
        """Mean entropy of an asked position and the share of them that open, from the law of the depth."""
        chances = self._opening_by_depth().double()
        entropy = torch.special.entr(chances) + torch.special.entr(1 - chances)
        entropy += chances * math.log(self.kinds)
        law = torch.zeros_like(chances)
        law[1] = 1.0  # the first token opens; it is read, not asked
        total = opened = 0.0
        for _ in range(self.length):
            total += float(law @ entropy)
            opened += float(law @ chances)
            up, down = (law * chances).roll(1), (law * (1 - chances)).roll(-1)
            law = up + down
        return total / self.length, opened / self.length
