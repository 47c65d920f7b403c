"""Tree: evaluate nested lists such as [MAX 3 [SM 4 9] 1]; every closing bracket asks for its value.

ListOps (Nangia & Bowman 2018, https://arxiv.org/abs/1804.06028): largest, smallest, median (rounded down) and
sum modulo 10 of digits and of inner lists. Every expression has exactly `depth` levels, so accuracy against
depth (tag `height`) shows how deep a composition a model can do.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE
from seqstate.core.task import Batch, Task, certain

DIGITS = 10
OPERATIONS: tuple[tuple[str, Callable[[Sequence[int]], int]], ...] = (
    ("[MAX", max),
    ("[MIN", min),
    ("[MED", lambda values: _median(sorted(values))),
    ("[SM", lambda values: sum(values) % DIGITS),
)
CLOSE = DIGITS + len(OPERATIONS)
BLANK = CLOSE + 1
NAMES = (*map(str, range(DIGITS)), *(name for name, _ in OPERATIONS), "]", "_")


class Tree(Task):
    """depth: levels. arity: most members of a list, 2 at least. branching: chance that a member is a list."""

    vocab_size = len(NAMES)
    entropy = 0.0

    def __init__(self, *, depth: int = 3, arity: int = 3, branching: float = 0.3) -> None:
        if depth < 1 or not 2 <= arity <= 4 or not 0 <= branching <= 1:
            raise ValueError(
                f"wanted depth >= 1, 2 <= arity <= 4 and 0 <= branching <= 1, found depth={depth}, "
                f"arity={arity}, branching={branching}"
            )
        self.depth, self.arity, self.branching = depth, arity, branching
        self.chance = self._exact_chance()

    def sample(self, size: int, seed: int) -> Batch:
        """As long as the longest expression, blank after the others. Tag `height` of a closed list; -1."""
        draw = random.Random(seed)
        texts = [self._list(draw, self.depth, True) for _ in range(size)]
        length = max(map(len, texts))
        tokens = torch.tensor([text + [BLANK] * (length - len(text)) for text in texts])
        values, heights = zip(*map(evaluate, tokens.tolist()), strict=True)
        return Batch(tokens, torch.tensor(values), {"height": torch.tensor(heights)})

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        answers = torch.tensor([evaluate(row)[0] for row in tokens.tolist()])
        return certain(answers, self.vocab_size)

    def _list(self, draw: random.Random, depth: int, full: bool) -> list[int]:
        """A list of at most `depth` levels; exactly as many if `full`."""
        count = draw.randint(2, self.arity)
        deepest = draw.randrange(count) if full and depth > 1 else -1
        text = [DIGITS + draw.randrange(len(OPERATIONS))]
        for member in range(count):
            if member == deepest:
                text += self._list(draw, depth - 1, True)
            elif depth > 1 and draw.random() < self.branching:
                text += self._list(draw, depth - 1, False)
            else:
                text.append(draw.randrange(DIGITS))
        return [*text, CLOSE]

    def _exact_chance(self) -> float:
        """How often the commonest value is asked, from the law of values level by level."""
        uniform = torch.full((DIGITS,), 1 / DIGITS, dtype=torch.float64)
        member = full = uniform  # laws of a free member, and of the member that must be deep
        asked_member = asked_full = torch.zeros_like(uniform)  # expected askings inside, by value
        mean = (2 + self.arity) / 2
        for _ in range(self.depth):
            free_list = self._law([member] * self.arity)
            deep_list = self._law([full, *[member] * (self.arity - 1)])
            asked_full = deep_list + (mean - 1) * asked_member + asked_full
            asked_member = self.branching * (free_list + mean * asked_member)
            member = self.branching * free_list + (1 - self.branching) * uniform
            full = deep_list
        return float(asked_full.max() / asked_full.sum())

    def _law(self, members: list[Float[Tensor, " V"]]) -> Float[Tensor, " V"]:
        """Law of the value of a list whose first 2 ... arity members have these laws."""
        out = torch.zeros(DIGITS, dtype=torch.float64)
        for count in range(2, self.arity + 1):
            digits, results = _all_lists(count)
            weight = torch.ones(len(digits), dtype=torch.float64)
            for column, law in zip(digits.T, members, strict=False):
                weight = weight * law[column]
            for values in results:
                out.index_add_(0, values, weight)
        return out / out.sum()


@functools.cache
def _all_lists(count: int) -> tuple[Int[Tensor, "N K"], Int[Tensor, "F N"]]:
    """Every list of `count` digits, and its value under each operation."""
    digits = torch.cartesian_prod(*[torch.arange(DIGITS)] * count)
    rows = digits.tolist()
    return digits, torch.tensor([[apply(row) for row in rows] for _, apply in OPERATIONS])


def evaluate(tokens: Sequence[int]) -> tuple[list[int], list[int]]:
    """At each closing bracket the value of its list and its height; IGNORE and -1 elsewhere."""
    values, heights, open_lists = [], [], []
    for token in tokens:
        value, height = IGNORE, -1
        if token < DIGITS and open_lists:
            open_lists[-1][1].append(token)
        elif DIGITS <= token < CLOSE:
            open_lists.append([token, [], 0])
        elif token == CLOSE and open_lists and open_lists[-1][1]:
            operation, members, below = open_lists.pop()
            value, height = OPERATIONS[operation - DIGITS][1](members), below + 1
            if open_lists:
                open_lists[-1][1].append(value)
                open_lists[-1][2] = max(open_lists[-1][2], height)
        values.append(value)
        heights.append(height)
    return values, heights


def _median(ordered: Sequence[int]) -> int:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) // 2
