"""Batches of a long token sequence, each a pure function of its number: resuming needs no state.

Both readers give `(tokens, targets, fresh)`: int64 arrays [rows, context], targets one token ahead, and
whether the rows begin somewhere new (carried states must be dropped).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.int64], NDArray[np.int64], bool]


@runtime_checkable
class Reader(Protocol):
    """What the training loop reads from."""

    def batch(self, index: int) -> Batch:
        """Batch number `index`, counted over the whole training."""
        ...


class Lanes:
    """Rows read parallel stretches of the text, window after window, so that a state can be carried.

    The text is a ring (its first token opens a document, so the seam is a document boundary). Every epoch
    starts at another random place. ids: 1-d array of token ids, also memory-mapped.
    """

    def __init__(self, ids: NDArray, *, rows: int, context: int, seed: int) -> None:
        self.ids, self.rows, self.context, self.seed = ids, rows, context, seed
        self.windows = max(1, len(ids) // (rows * context))

    def batch(self, index: int) -> Batch:
        epoch, window = divmod(index, self.windows)
        size = len(self.ids)
        offset = np.random.default_rng([self.seed, epoch]).integers(size)
        starts = offset + np.arange(self.rows) * size // self.rows + window * self.context
        return (*_gather(self.ids, starts, self.context), window == 0)


class Windows:
    """Rows start at random places each time (no state is carried), as nanoGPT reads."""

    def __init__(self, ids: NDArray, *, rows: int, context: int, seed: int) -> None:
        self.ids, self.rows, self.context, self.seed = ids, rows, context, seed

    def batch(self, index: int) -> Batch:
        generator = np.random.default_rng([self.seed, index])
        starts = generator.integers(max(1, len(self.ids) - self.context), size=self.rows)
        return (*_gather(self.ids, starts, self.context), True)


def _gather(ids: NDArray, starts: NDArray, context: int) -> tuple[NDArray, NDArray]:
    places = (starts[:, None] + np.arange(context + 1)) % len(ids)
    read = np.asarray(ids)[places].astype(np.int64)
    return read[:, :-1], read[:, 1:]
