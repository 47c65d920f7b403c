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


def distance2(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def inner(h, w, scale=1.0):
    return scale * dot(h, w)


def cosine(h, w, tau):
    return tau * dot(h, w) / (math.sqrt(dot(h, h)) * math.sqrt(dot(w, w)))


def l2(h, w, tau):
    return -tau * distance2(h, w)


def harmonic(h, w, n):
    return -n * math.log(math.sqrt(distance2(h, w)))


def agreements(h, w, a, b):
    """a_g <h_g, w_g> + b_g of every feature."""
    pairs = zip(split(h, len(a)), split(w, len(a)), a, b, strict=True)
    return [a_g * dot(h_g, w_g) + b_g for h_g, w_g, a_g, b_g in pairs]


def multi_hamming(h, w, tau, a, b, squash=sigmoid):
    """Minus the cost of the misses."""
    return -sum(t * (1 - squash(x)) for t, x in zip(tau, agreements(h, w, a, b), strict=True))


def clamped(x):
    return min(max(x / 4 + 0.5, 0.0), 1.0)


def rational(x):
    return (1 + x / (2 + abs(x))) / 2


def rbf(h, w, tau, a, alpha=0.0):
    pairs = zip(split(h, len(a)), split(w, len(a)), tau, a, strict=True)
    peaks = sum(t * math.exp(-a_g * distance2(h_g, w_g)) for h_g, w_g, t, a_g in pairs)
    return peaks + alpha * dot(h, w)


def minimum(h, w, a, b):
    return min(agreements(h, w, a, b))


def soft_minimum(h, w, a, b, temperature):
    shares = [math.exp(-s / temperature) for s in agreements(h, w, a, b)]
    return -temperature * math.log(sum(shares) / len(shares))


def product_of_experts(h, w, tau, a, b):
    chances = (sigmoid(x) ** t for t, x in zip(tau, agreements(h, w, a, b), strict=True))
    return math.log(math.prod(chances))


DISTANCES = {
    "tanh": math.tanh,
    "exponential": lambda x: 1 - math.exp(-x),
    "clipped": lambda x: min(x, 1.0),
}


def hamming(h, w, tau, a, distance):
    terms = zip(h, w, tau, a, strict=True)
    return -sum(t * DISTANCES[distance](s * abs(x - y)) for x, y, t, s in terms)


def squashed_hamming(h, w, tau, a, b):
    terms = zip(h, w, tau, a, b, strict=True)
    return -sum(t * abs(sigmoid(s * x + o) - sigmoid(s * y + o)) for x, y, t, s, o in terms)


def soft_bits(h, w, read, offset, ask, tau=None, alpha=0.0):
    """read, ask: matrices A and B; tau: squashes the state's side too."""
    phi = [2 * sigmoid(x + c) - 1 for x, c in zip(apply(read, w), offset, strict=True)]
    z = apply(ask, h)
    if tau is not None:
        z = [t * math.tanh(x) for t, x in zip(tau, z, strict=True)]
    return dot(z, phi) + (alpha * dot(h, w) if alpha else 0.0)


def mixtape(h, words, bias, facets, gates, gate_scores, gate_table, gate_bias):
    """facets: 4 matrices; gates: 3 matrices; the tree of sigmoids spelt out as products."""
    tops = [[math.tanh(x) for x in apply(matrix, h)] for matrix in facets]
    asked = [[math.tanh(x) for x in apply(matrix, h)] for matrix in gates]
    logits = []
    for w, b, v, offsets in zip(words, bias, gate_table, gate_bias, strict=True):
        g1, g2, g3 = (
            sigmoid(dot(v, a) + dot(u, h) + o)
            for a, u, o in zip(asked, gate_scores, offsets, strict=True)
        )
        pi = (g1 * g2, g1 * (1 - g2), (1 - g1) * g3, (1 - g1) * (1 - g3))
        logits.append(sum(p * dot(top, w) for p, top in zip(pi, tops, strict=True)) + b)
    return logits


def unit(x):
    length = math.sqrt(dot(x, x))
    return [a / length for a in x]


def mol(h, words, bias, facets, query_gate, word_gate, tau, word_groups):
    """facets: Q matrices; query_gate, word_gate: functions of a vector that give one number a pair."""
    asked = [unit(apply(matrix, h)) for matrix in facets]
    logits = []
    for w, b in zip(words, bias, strict=True):
        pieces = [unit(piece) for piece in split(w, word_groups)]
        z = [dot(f, g) for f in asked for g in pieces]
        gates = [x * y for x, y in zip(query_gate(h), word_gate(w), strict=True)]
        pi = softmax([x * sigmoid(x) for x in gates])
        logits.append(tau * dot(pi, z) + b)
    return logits


def multi_facet(h, words, bias, mix, prior, facets, parts):
    """prior: function of the block; facets: J + K - 1 matrices D x 2 D."""
    bent = apply(mix, h)
    block = h + [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in bent]
    pi = softmax(prior(block))
    tops = [apply(matrix, block) for matrix in facets]
    mixed = [0.0] * len(words)
    for k, weight in enumerate(pi):
        own = [tops[v % parts] if k == 0 else tops[parts + k - 1] for v in range(len(words))]
        p = softmax([dot(f, w) + b for f, w, b in zip(own, words, bias, strict=True)])
        mixed = [m + weight * x for m, x in zip(mixed, p, strict=True)]
    return [math.log(m) for m in mixed]


def binary_codes(z, codes, bias):
    """Log of the product of the bits' probabilities, plus the word's bias."""
    logits = []
    for code, b in zip(codes, bias, strict=True):
        chances = (sigmoid(x) if bit else 1 - sigmoid(x) for x, bit in zip(z, code, strict=True))
        logits.append(math.log(math.prod(chances)) + b)
    return logits


def coded(h, codes, books, bias, tau=None, a=None, b=None):
    """Tables of look-ups, one group at a time; the inner form has no tau."""
    groups = len(books)
    logits = list(bias)
    for g, (h_g, book) in enumerate(zip(split(h, groups), books, strict=True)):
        table = [dot(h_g, c) for c in book]
        if tau is not None:
            table = [tau[g] * sigmoid(a[g] * x + b[g]) for x in table]
        logits = [x + table[code[g]] for x, code in zip(logits, codes, strict=True)]
    return logits


def lloyd(points, weights, centres, rounds):
    """Weighted k-means, point by point; no centre may run empty."""
    for _ in range(rounds):
        labels = [min(range(len(centres)), key=lambda c: distance2(p, centres[c])) for p in points]
        sums = [[0.0] * len(points[0]) for _ in centres]
        mass = [0.0] * len(centres)
        for p, w, c in zip(points, weights, labels, strict=True):
            sums[c] = [s + w * x for s, x in zip(sums[c], p, strict=True)]
            mass[c] += w
        centres = [[s / m for s in row] for row, m in zip(sums, mass, strict=True)]
    return centres
