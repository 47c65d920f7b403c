"""Counting the n-grams of a text by sorting, with no Python loop over n-grams.

A context of length j is numbered by its row in the sorted table of all contexts of that length. A table
is a sorted array of packed int64 keys, `left << bits | right`:

    contexts[j]  row of the last j - 1 words, first word        (the row of a context of length 1 is the word)
    keys[n]      row of the n - 1 words before, last word

so a context is found by reading backwards from its newest word, and the words that may follow it lie side
by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Counts:
    """How often every n-gram occurs; keyed by the length of the context or of the n-gram.

    unigram: V numbers. contexts[2 .. order-1], keys[2 .. order], raw[2 .. order] as above.
    last: the words of the n-gram that comes last, see `last_ngram`.
    """

    unigram: Array
    contexts: dict[int, Array]
    keys: dict[int, Array]
    raw: dict[int, Array]
    last: Array
    bits: int

    @property
    def order(self) -> int:
        return max(self.keys, default=1)

    def rows(self, length: int) -> int:
        """How many contexts of this length there are."""
        return self.unigram.size if length == 1 else self.contexts[length].size


def word_bits(vocab_size: int) -> int:
    """Bits that hold a word id."""
    return max(1, (vocab_size - 1).bit_length())


def split_key(keys: Array, bits: int) -> tuple[Array, Array]:
    """Left and right part of packed keys."""
    return keys >> bits, keys & ((1 << bits) - 1)


def rows_of(contexts: dict[int, Array], ids: Array, bits: int) -> Array:
    """Row of each context, given as word ids of M x length; -1 where the tables do not have it."""
    row = ids[:, -1]
    for length in range(2, ids.shape[1] + 1):
        table = contexts[length]
        key = np.where(row >= 0, (row << bits) | ids[:, -length], -1)
        place = np.minimum(np.searchsorted(table, key), table.size - 1)
        row = np.where(table[place] == key, place, -1) if table.size else np.full_like(row, -1)
    return row


def checked_tokens(tokens: Any, boundary: int, vocab_size: int) -> Array:
    """The tokens as an array, not copied.

    Raises ValueError for what is not a non-empty 1-d array of ids below `vocab_size`.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"found a {tokens.ndim}-d array of {tokens.dtype}, wanted a 1-d array of integer token ids"
        )
    if not 0 <= boundary < vocab_size:
        raise ValueError(f"the boundary {boundary} is not a token id below {vocab_size}")
    low, high = (int(tokens.min()), int(tokens.max())) if tokens.size else (boundary, boundary)
    if low == high == boundary:
        raise ValueError("found no token to count, wanted at least one beside the boundary")
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"token ids run from {low} to {high}, but vocab_size is {vocab_size}; "
            f"use vocab_size={high + 1} or map the text with the same tokeniser"
        )
    return tokens


def closed_stream(tokens: Any, boundary: int, vocab_size: int) -> Array:
    """The text as int64 with `boundary` before each of its documents and after the last.

    Raises ValueError as `checked_tokens`.
    """
    tokens = checked_tokens(tokens, boundary, vocab_size)
    opened = int(tokens[0] == boundary)
    stream = np.full(tokens.size + 2 - opened, boundary, dtype=np.int64)
    stream[1 - opened : -1] = tokens
    return stream


def count_ngrams(stream: Array, boundary: int, vocab_size: int, order: int) -> Counts:
    """Count every n-gram up to `order` in a closed stream; contexts stop at the boundary before them."""
    bits = word_bits(vocab_size)
    unigram = np.bincount(stream[1:], minlength=vocab_size)
    contexts, keys, raw = {}, {}, {}
    reach = context_reach(stream, boundary, order)
    at = np.arange(stream.size - 1, dtype=np.int64)  # where a context ends; the next word is at + 1
    row = stream[:-1]
    for n in range(2, order + 1):
        keys[n], raw[n] = _unique((row << bits) | stream[at + 1])
        if n == order:
            break
        deeper = reach[at] >= n
        at, row = at[deeper], row[deeper]
        contexts[n], row = _unique_rows((row << bits) | stream[at - (n - 1)])
    return Counts(unigram, contexts, keys, raw, last_ngram(stream, boundary, order), bits)


def last_ngram(stream: Array, boundary: int, order: int) -> Array:
    """The n-gram shorter than `order` that sorts last, compared from its last word to its first.

    Words are ranked by their first place in the text, the boundary below all. The smoothing needs it.
    """
    first = np.full(int(stream.max()) + 1, -2)
    backwards = np.arange(stream.size)[::-1]
    first[stream[backwards]] = backwards  # of repeated places the last one written stays
    first[boundary] = -1
    words = [int(first.argmax())]
    at = np.flatnonzero(stream[1:] == words[0]) + 1
    while len(words) < order - 1 and words[-1] != boundary:
        at = at - 1
        before = stream[at]
        words.append(int(before[first[before].argmax()]))
        at = at[before == words[-1]]
    return np.array(words[::-1])


def context_reach(stream: Array, boundary: int, longest: int) -> Array:
    """Length of the longest context that ends at each position, boundary included, at most `longest`."""
    position = np.arange(stream.size, dtype=np.int64)
    opening = np.maximum.accumulate(np.where(stream == boundary, position, 0))
    return np.minimum(position - opening + 1, longest).astype(np.int32)


def _unique(values: Array) -> tuple[Array, Array]:
    """Distinct values in order, and how often each occurs."""
    values = np.sort(values)
    first = np.flatnonzero(_starts(values))
    return values[first], np.diff(first, append=values.size)


def _unique_rows(values: Array) -> tuple[Array, Array]:
    """Distinct values in order, and the index of each value among them."""
    order = np.argsort(values)
    values = values[order]
    starts = _starts(values)
    rows = np.empty(values.size, dtype=np.int64)
    rows[order] = np.cumsum(starts) - 1
    return values[starts], rows


def _starts(values: Array) -> Array:
    starts = np.ones(values.size, dtype=bool)
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    return starts
