"""Interpolated modified Kneser-Ney: smoothed probabilities from the n-gram counts of a text.

    p(w | c) = (a(cw) - D(a(cw))) / sum_x a(cx) + b(c) p(w | c without its first word)

a: how often cw was seen if it has the full order or opens a document, else the number of distinct words
seen before it. D: three discounts per order. b: what the discounts leave. The unigrams are interpolated
with 1/V, which is shared by words never seen.

Chen & Goodman 1999, equation 26; Heafield, Pouzyrevsky, Clark & Koehn 2013, "Scalable modified Kneser-Ney
language model estimation", whose conventions (`lmplz`) are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqstate.states._ngram_counts import Array, Counts, rows_of, split_key

SPARED = (
    1e-9  # left for words not seen even where a discount is exactly 0, so that none is impossible
)


@dataclass(frozen=True)
class Tables:
    """A back-off model in natural logarithms; lengths and keys as in Counts.

    unigram: V log-probabilities. logp[n]: of the n-grams in keys[n]. backoff[1 .. order-1]: of contexts.
    """

    unigram: Array
    contexts: dict[int, Array]
    backoff: dict[int, Array]
    keys: dict[int, Array]
    logp: dict[int, Array]


def smooth(
    counts: Counts,
    boundary: int,
    fallback: Sequence[float],
    thresholds: Sequence[int] = (),
) -> Tables:
    """Estimate the model; n-grams seen `thresholds[n - 1]` times or less are left to the back-off.

    `fallback`: the discounts of an order whose counts of counts give none (a small or artificial text).
    """
    order, kept = counts.order, _Kept(counts)
    contexts, backoff, keys, logp = {}, {}, {}, {}
    suffix = _suffixes(counts, 2) if order > 1 else None
    lower = _unigram(counts, suffix, fallback)
    unigram = np.log(lower)
    for n in range(2, order + 1):
        row, _ = split_key(counts.keys[n], counts.bits)
        raw, longer = counts.raw[n], _suffixes(counts, n + 1) if n < order else None
        adjusted = raw if longer is None else _adjusted(counts, n, longer, boundary)
        discount = _discounts(counts, n, adjusted, fallback)[np.minimum(adjusted, 3)]
        keep = raw > threshold(thresholds, n)
        rows = counts.rows(n - 1)
        total = np.bincount(row, adjusted, rows)
        # a pruned n-gram leaves all of its count, so that the distribution still sums to 1
        left = np.bincount(row, np.where(keep, discount, adjusted), rows) / np.maximum(total, 1)
        left[total == 0] = 1
        left = np.maximum(left, SPARED)
        probability = (adjusted - discount) / total[row] + left[row] * lower[suffix]
        with_words = np.bincount(row[keep], minlength=rows) > 0
        backoff[n - 1] = np.log(kept.backoffs(left, with_words, n - 1)).astype(np.float32)
        if n > 2:
            contexts[n - 1] = kept.contexts(with_words, n - 1)
        keys[n] = kept.keys(keep, n)
        logp[n] = np.log(probability[keep]).astype(np.float32)
        lower, suffix = probability, longer
    return Tables(unigram, contexts, backoff, keys, logp)


def _unigram(counts: Counts, bigrams: Array | None, fallback: Sequence[float]) -> Array:
    """Probabilities of single words. `bigrams`: the last word of each bigram."""
    vocab_size = counts.unigram.size
    adjusted = counts.unigram if bigrams is None else np.bincount(bigrams, minlength=vocab_size)
    return unigram_probabilities(adjusted, _discounts(counts, 1, adjusted, fallback))


def unigram_probabilities(adjusted: Array, amounts: Array) -> Array:
    """Of every word, interpolated with 1/V."""
    discount = amounts[np.minimum(adjusted, 3)]
    left = max(SPARED, discount.sum() / adjusted.sum())
    return (adjusted - discount) / adjusted.sum() + left / adjusted.size


def _discounts(counts: Counts, n: int, adjusted: Array, fallback: Sequence[float]) -> Array:
    spectrum = np.bincount(np.minimum(adjusted, 5), minlength=6)
    if n < counts.order and n <= counts.last.size:
        place, raw = _last(counts, n)
        spectrum = corrected(spectrum, int(adjusted[place]), raw)
    return discounts(spectrum, fallback)


def corrected(spectrum: Array, adjusted: int, raw: int) -> Array:
    """Count the n-gram that comes last by its plain count, as lmplz does and so must its equal."""
    spectrum = spectrum.copy()
    spectrum[min(adjusted, 5)] -= 1
    spectrum[min(raw, 5)] += 1
    return spectrum


def discounts(spectrum: Array, fallback: Sequence[float]) -> Array:
    """The discounts of counts 0, 1, 2 and 3 or more, from how many n-grams have each count below 5.

    Chen & Goodman 1999, equation 26; `fallback` where it does not apply.
    """
    n = spectrum.astype(np.float64)
    if n[1:4].all():
        y = n[1] / (n[1] + 2 * n[2])
        amounts = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        if all(0 <= amount <= j for j, amount in enumerate(amounts, 1)):
            return np.array([0.0, *amounts])
    return np.array([0.0, *fallback])


def _last(counts: Counts, n: int) -> tuple[int, int]:
    """Place and plain count of the n-gram that comes last."""
    words = counts.last[-n:]
    if n == 1:
        return int(words[0]), int(counts.unigram[words[0]])
    row = rows_of(counts.contexts, words[None, :-1], counts.bits)[0]
    place = int(np.searchsorted(counts.keys[n], (row << counts.bits) | words[-1]))
    return place, int(counts.raw[n][place])


def _suffixes(counts: Counts, n: int) -> Array:
    """For every n-gram, where the n-gram without its first word is in the table one shorter."""
    row, words = split_key(counts.keys[n], counts.bits)
    if n == 2:
        return words
    shorter, _ = split_key(counts.contexts[n - 1][row], counts.bits)
    return np.searchsorted(counts.keys[n - 1], (shorter << counts.bits) | words)


def _adjusted(counts: Counts, n: int, longer: Array, boundary: int) -> Array:
    """Distinct words seen before each n-gram; the plain count where a document opens with it."""
    row, _ = split_key(counts.keys[n], counts.bits)
    if n == 2:
        opens = row == boundary
    else:
        opens = (split_key(counts.contexts[n - 1], counts.bits)[1] == boundary)[row]
    return np.where(opens, counts.raw[n], np.bincount(longer, minlength=row.size))


def threshold(thresholds: Sequence[int], n: int) -> int:
    """Count at or below which n-grams are pruned."""
    return thresholds[min(n, len(thresholds)) - 1] if thresholds else 0


class _Kept:
    """Renumbers contexts when pruning leaves some without any word."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.row = np.arange(counts.rows(1))  # new row of each context of the present length

    def backoffs(self, left: Array, with_words: Array, length: int) -> Array:
        return left if length == 1 else left[with_words]

    def contexts(self, with_words: Array, length: int) -> Array:
        renumbered = self._renumber(self.counts.contexts[length][with_words])
        self.row = np.cumsum(with_words) - 1
        return renumbered

    def keys(self, keep: Array, n: int) -> Array:
        return self._renumber(self.counts.keys[n][keep])

    def _renumber(self, keys: Array) -> Array:
        row, word = split_key(keys, self.counts.bits)
        return (self.row[row] << self.counts.bits) | word
