"""Which sentence every token of a batch of streams belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# sentences are filled together while the longest is at most GROWTH times the shortest
GROWTH, SHORT = 1.5, 4


@dataclass(frozen=True)
class Segments:
    """depth[b, t]: words of the current sentence read after token t (0: it just closed; -1: padding).

    sentence[b, t]: number of the sentence that was opened in this batch and holds token t; -1: the one that
    was open before. row, start, length: of every sentence opened here.
    """

    depth: NDArray
    sentence: NDArray
    row: NDArray
    start: NDArray
    length: NDArray

    def carried(self) -> NDArray:
        """How many tokens of each row go on with the sentence that was open before."""
        return ((self.depth > 0) & (self.sentence < 0)).sum(1)

    def groups(self) -> list[NDArray]:
        """Sentence numbers by length, so that little is padded."""
        size = np.ceil(np.log(np.maximum(self.length, SHORT)) / math.log(GROWTH))
        return [np.flatnonzero(size == each) for each in np.unique(size)]


def segment(
    tokens: NDArray, opened: NDArray, lengths: NDArray, closers: NDArray, limit: int
) -> Segments:
    """Cut rows of tokens into sentences.

    opened: words of the open sentence read before, by row. closers: by token id, whether it closes a
    sentence. A sentence of `limit` words is over, too: the next word opens another.
    """
    closes = closers[tokens]
    depth = np.zeros(tokens.shape, dtype=np.int64)
    count = opened.copy()
    for t in range(tokens.shape[1]):
        count = np.where(closes[:, t], 0, np.where(count >= limit, 1, count + 1))
        depth[:, t] = count
    depth[np.arange(tokens.shape[1]) >= lengths[:, None]] = -1
    opens = depth == 1
    numbers = np.cumsum(opens.ravel()).reshape(opens.shape) - 1
    sentence = np.where((depth > 0) & (np.cumsum(opens, 1) > 0), numbers, -1)
    row, start = np.nonzero(opens)
    length = np.bincount(sentence[sentence >= 0], minlength=len(row))
    return Segments(depth, sentence, row, start, length)
