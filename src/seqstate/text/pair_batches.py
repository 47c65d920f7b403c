"""Pairs as token ids: where source and target lie, and batches of pairs of like length.

What is asked of a pair is its target and the token that opens the next document, which ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """Where the pairs of an id array lie. Of each: its start (the boundary), its separator, its end."""

    ids: NDArray
    start: NDArray[np.int64]
    turn: NDArray[np.int64]
    end: NDArray[np.int64]
    boundary: int
    separator: int

    @classmethod
    def find(cls, ids: NDArray, boundary: int, separator: int) -> Pairs:
        """Raises ValueError if the documents are not pairs."""
        start = np.flatnonzero(ids == boundary)
        turn = np.flatnonzero(ids == separator)
        end = np.append(start[1:], len(ids))
        found = len(turn) == len(start) > 0 and start[0] == 0
        if not found or not ((start < turn) & (turn < end)).all():
            raise ValueError(
                f"this text is no pairs: {len(start):,} documents and {len(turn):,} tabs between a source "
                "and a target; give a .tsv of two columns, or .jsonl with --pairs SOURCE,TARGET"
            )
        return cls(ids, start, turn, end, boundary, separator)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens read of each pair: boundary, source, separator, target."""
        return self.end - self.start

    def rows(self, chosen: NDArray, *, unasked: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and targets [R, longest] of some pairs; targets are `unasked` in sources and padding.

        Padding is separators: a target that goes on, which begins nothing.
        """
        start, lengths = self.start[chosen, None], self.lengths[chosen, None]
        step = np.arange(lengths.max())
        inside = step < lengths
        read = np.asarray(self.ids[np.minimum(start + step, len(self.ids) - 1)]).astype(np.int64)
        tokens = np.where(inside, read, self.separator)
        follows = np.append(read[:, 1:], np.full((len(read), 1), self.boundary), 1)
        follows = np.where(step == lengths - 1, self.boundary, follows)
        asked = inside & (start + step >= self.turn[chosen, None])
        return tokens, np.where(asked, follows, unasked)

    def source(self, index: int) -> list[int]:
        """What is read before the first token of a target is asked: boundary, source, separator."""
        return np.asarray(self.ids[self.start[index] : self.turn[index] + 1]).tolist()

    def target(self, index: int) -> list[int]:
        """The target, its end left out."""
        return np.asarray(self.ids[self.turn[index] + 1 : self.end[index]]).tolist()

    def targets(self) -> NDArray:
        """All targets joined, their ends left out."""
        inside = np.zeros(len(self.ids) + 1, np.int64)
        inside[self.turn + 1] += 1
        inside[self.end] -= 1
        return np.asarray(self.ids)[inside[:-1].cumsum() > 0]

    def spread(self, most: int) -> NDArray[np.int64]:
        """At most so many pairs, evenly spread."""
        count = min(most, len(self))
        return np.arange(count) * len(self) // count

    def batches(self, chosen: NDArray, tokens: int) -> list[NDArray[np.int64]]:
        """Some pairs, the shortest first, in batches of about so many tokens, padding counted."""
        order = chosen[np.argsort(self.lengths[chosen], kind="stable")]
        return np.split(order, _cuts(self.lengths[order], tokens, 1))


class PairBatches:
    """Batches of whole pairs of like length, each a pure function of its number, of at most `tokens` tokens.

    Every epoch shuffles which pairs of one length meet, and the order of the batches. A batch has a multiple
    of `parts` rows, so that it can be read in as many parts: up to parts - 1 pairs of an epoch sit out.
    """

    def __init__(self, pairs: Pairs, *, tokens: int, parts: int, seed: int, unasked: int) -> None:
        if len(pairs) < parts:
            raise ValueError(f"{len(pairs)} pairs cannot be read in {parts} parts a step")
        self.pairs, self.seed, self.unasked = pairs, seed, unasked
        self.kept = len(pairs) - len(pairs) % parts
        self.cuts = _cuts(np.sort(pairs.lengths)[-self.kept :], tokens, parts)
        self.epoch, self.order, self.turns = -1, np.zeros(0, np.int64), np.zeros(0, np.int64)

    def batch(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        epoch, number = divmod(index, len(self.cuts) + 1)
        generator = np.random.default_rng([self.seed, epoch])
        if epoch != self.epoch:
            shuffled = generator.permutation(len(self.pairs))
            order = shuffled[np.argsort(self.pairs.lengths[shuffled], kind="stable")]
            turns = generator.permutation(len(self.cuts) + 1)
            self.epoch, self.order, self.turns = epoch, order[-self.kept :], turns
        place = self.turns[number]
        start = self.cuts[place - 1] if place else 0
        end = self.cuts[place] if place < len(self.cuts) else self.kept
        chosen = self.order[start:end]
        if len(chosen) > 1:  # parts of a batch are alike
            chosen = np.random.default_rng([self.seed, index, 1]).permutation(chosen)
        return (*self.pairs.rows(chosen, unasked=self.unasked), True)


def _cuts(lengths: NDArray[np.int64], tokens: int, parts: int) -> list[int]:
    """Where batches of rising lengths are cut so that rows times the longest stays within `tokens`."""
    cuts, start = [], 0
    while start < len(lengths):
        some = lengths[
            start : start + tokens // int(lengths[start]) + 1
        ]  # there are no more than these
        reach = some * (np.arange(len(some)) + 1)
        rows = int(np.searchsorted(reach, tokens, side="right"))
        start += max(parts, rows - rows % parts)
        cuts.append(start)
    return cuts[:-1]
