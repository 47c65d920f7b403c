"""Slow twin of the hidden Markov model: the sum over every hidden path, one at a time."""

from __future__ import annotations

import itertools


def string_probability(words, first, transition, emission) -> float:
    """P(words) = sum over z_1..z_T of first(z_1) prod emission(z_t, w_t) prod transition(z_t, z_{t+1})."""
    total = 0.0
    for path in itertools.product(range(len(first)), repeat=len(words)):
        weight = first[path[0]]
        for before, after in itertools.pairwise(path):
            weight *= transition[before][after]
        for state, word in zip(path, words, strict=True):
            weight *= emission[state][word]
        total += weight
    return total
