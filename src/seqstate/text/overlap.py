"""Which share of a text a model has read in training, told from a few kilobytes kept with the model.

    kept = sketch(train_ids)            # once, saved with the model
    overlap(kept, other_ids)            # 0.0: all new, 1.0: all read

Every stretch of WINDOW tokens is hashed, and the stretches with the smallest hashes are the sketch (the
bottom-k sketch of Broder 1997): whether a hash below the sketch's largest is in it is known exactly, and such
hashes are a fair sample of any text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 32  # tokens, a power of 2: long enough that two texts share one only where one copies
KEPT = 1024
BLOCK = 1 << 20
_BASE = 0x9E3779B97F4A7C15


def sketch(ids: NDArray) -> str:
    """The smallest hashes of a text's stretches as hexadecimal digits, 16 each; at most KEPT of them."""
    smallest = np.zeros(0, np.uint64)
    for start in range(0, max(0, len(ids) - WINDOW + 1), BLOCK):
        found = hashes(ids[start : start + BLOCK + WINDOW - 1])
        if len(smallest) == KEPT:
            found = found[found < smallest[-1]]
        smallest = np.union1d(smallest, _smallest(found))[:KEPT]
    return "".join(f"{int(value):016x}" for value in smallest)


def _smallest(found: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """At least the KEPT smallest different hashes, without sorting them all."""
    size = 4 * KEPT
    while size < len(found):
        taken = np.unique(np.partition(found, size)[:size])
        if len(taken) >= KEPT:
            return taken
        size *= 8
    return np.unique(found)


def overlap(kept: str, ids: NDArray) -> float:
    """The share of a text's stretches that the sketched text holds; 0 where the sample has none of them.

    A sketch of N stretches samples KEPT / N of those of the text, so a long text is judged well and
    one that is short beside the sketched text may be judged new though it is not.
    """
    known = np.array([int(kept[at : at + 16], 16) for at in range(0, len(kept), 16)], np.uint64)
    if not len(known):
        return 0.0
    # a text of fewer stretches than KEPT is known whole: nothing is beyond its sketch
    limit = known.max() if len(known) == KEPT else np.iinfo(np.uint64).max
    sampled = seen = 0
    for start in range(0, max(0, len(ids) - WINDOW + 1), BLOCK):
        found = hashes(ids[start : start + BLOCK + WINDOW - 1])
        found = found[found <= limit]
        sampled += len(found)
        seen += int(np.isin(found, known).sum())
    return seen / sampled if sampled else 0.0


def hashes(ids: NDArray) -> NDArray[np.uint64]:
    """A hash of every stretch of WINDOW tokens: a polynomial modulo 2^64, then mixed (splitmix64)."""
    value = np.asarray(ids).astype(np.uint64) + np.uint64(1)
    with np.errstate(over="ignore"):
        base, size = np.uint64(_BASE), 1
        while (
            size < WINDOW
        ):  # of twice as many tokens: the first half's, shifted, and the second half's
            value = value[:-size] * base + value[size:]
            base, size = base * base, 2 * size
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
        return value ^ (value >> np.uint64(31))
