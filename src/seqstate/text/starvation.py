"""How n-grams starve: the share of held-out n-grams that training never showed, by n (essay, idea 1).

Held-out n-grams are hashed to 64 bits and looked for in the training text block by block: memory does not
grow with the text. A million held-out and a billion training n-grams give 0.00005 false matches on average.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from seqstate.text.store import Corpus

BLOCK = 1 << 17  # tokens of training text at once
STRETCHES, STRETCH = 64, 1 << 14  # a longer held-out text is judged by 64 stretches, evenly spread


def starvation(corpus: Corpus, orders: Iterable[int] = range(1, 8)) -> dict[int, float]:
    """Share (0 to 1) of the held-out n-grams of tokens never seen in training, for each n in `orders`.

    Every place in the held-out text counts, repeated n-grams too. n-grams lie within a document and do not
    hold its opening token; an n longer than every held-out document is left out.
    """
    orders, boundary = sorted(set(orders)), corpus.tokenizer.boundary
    held_out = [_Grams(stretch, boundary) for stretch in _stretches(corpus.valid)]
    found = {n: np.concatenate([grams.of(n) for grams in held_out]) for n in orders}
    lookups = {n: _Lookup(hashes) for n, hashes in found.items() if len(hashes)}
    step = max(orders, default=1) - 1
    for start in range(0, len(corpus.train), BLOCK):
        block = _Grams(np.asarray(corpus.train[start : start + BLOCK + step]), boundary)
        for n, lookup in lookups.items():
            lookup.see(block.of(n))
    return {n: lookup.unseen() for n, lookup in lookups.items()}


def _stretches(ids: NDArray) -> Iterator[NDArray]:
    if len(ids) <= STRETCHES * STRETCH:
        yield np.asarray(ids)
        return
    for start in np.linspace(0, len(ids) - STRETCH, STRETCHES).astype(int):
        yield np.asarray(ids[start : start + STRETCH])


class _Grams:
    """Hashes of the n-grams that begin anywhere in a stretch of ids."""

    def __init__(self, ids: NDArray, boundary: int) -> None:
        self.mixed = _mix(ids.astype(np.uint64) + np.uint64(1))
        opens = np.flatnonzero(ids == boundary)
        ends = np.append(opens, len(ids))  # of the document a place lies in
        self.room = ends[np.searchsorted(opens, np.arange(len(ids)))] - np.arange(len(ids))
        self.lengths = {1: self.mixed}

    def of(self, n: int) -> NDArray[np.uint64]:
        """One hash for each place where n tokens of one document follow."""
        for length in range(len(self.lengths) + 1, n + 1):
            before, last = self.lengths[length - 1], self.mixed[length - 1 :]
            self.lengths[length] = _mix(before[: len(last)] * np.uint64(31) + last)
        hashes = self.lengths[n]
        return hashes[self.room[: len(hashes)] >= n]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser: every bit in moves every bit out."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _Lookup:
    """Which of some hashes have not been seen yet; a table of their low bits sends most others away."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self.total = len(hashes)
        self.hashes, self.counts = np.unique(hashes, return_counts=True)
        self.mask = np.uint64((16 << len(self.hashes).bit_length()) - 1)
        self.table = np.zeros(int(self.mask) + 1, bool)
        self.table[self._low(self.hashes)] = True

    def see(self, hashes: NDArray[np.uint64]) -> None:
        possible = hashes[self.table[self._low(hashes)]]
        places = np.searchsorted(self.hashes, possible)
        places = places[self.hashes.take(places, mode="clip") == possible]
        if not len(places):
            return
        self.table[self._low(self.hashes[places])] = False
        left = np.ones(len(self.hashes), bool)
        left[places] = False
        self.hashes, self.counts = self.hashes[left], self.counts[left]
        self.table[self._low(self.hashes)] = True  # some shared a place with what went

    def unseen(self) -> float:
        return float(self.counts.sum() / self.total)

    def _low(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        return (hashes & self.mask).astype(np.intp)
