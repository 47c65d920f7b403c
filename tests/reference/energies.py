"""Slow twins of the energies: the formula of each, one pair of vectors at a time, in Python's own floats.

Pairwise functions take `h` and `w` (lists of numbers) and give the score (minus the energy). Heads take
`h`, the word vectors and the biases, and give the logits of all words.
"""

from __future__ import annotations

import math


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def split(x, groups):
    size = len(x) // groups
    return [x[g * size : (g + 1) * size] for g in range(groups)]


def apply(matrix, x):
    return [dot(row, x) for row in matrix]


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def log_softmax(scores):
    top = max(scores)
    log_z = top + math.log(sum(math.exp(s - top) for s in scores))
    return [s - log_z for s in scores]


def softmax(scores):
    return [math.exp(s) for s in log_softmax(scores)]


def mos(h, words, bias, prior, latent, latent_bias):
    """prior: K rows; latent: K matrices D x D with their biases."""
    pi = softmax(apply(prior, h))
    mixed = [0.0] * len(words)
    for weight, matrix, offset in zip(pi, latent, latent_bias, strict=True):
        facet = [math.tanh(x + o) for x, o in zip(apply(matrix, h), offset, strict=True)]
        part = softmax([dot(facet, w) + b for w, b in zip(words, bias, strict=True)])
        mixed = [m + weight * p for m, p in zip(mixed, part, strict=True)]
    return [math.log(m) for m in mixed]


def bent(h, words, bias, bend):
    return [bend(dot(h, w) + b) for w, b in zip(words, bias, strict=True)]


def gss(c, k):
    """The paper's own form (equation 3)."""
    return lambda z: k * (z - c) + c - (k - 1) * math.log1p(math.exp(z - c))


def plif(slopes, limit):
    """Walk from the left end, piece by piece."""
    step = 2 * limit / len(slopes)

    def bend(z):
        if z < -limit:
            return -limit + slopes[0] * (z + limit)
        height = -limit
        for i, slope in enumerate(slopes):
            left = -limit + i * step
            if z < left + step or i == len(slopes) - 1:
                return height + slope * (z - left)
            height += slope * step
        raise AssertionError

    return bend
