"""Interpolated modified Kneser-Ney by dictionaries, straight from the formula of Chen & Goodman 1999."""

from __future__ import annotations

import math
from collections import Counter, defaultdict


class SlowKneserNey:
    """Documents are lists of ids; the boundary id is <s> as a context and </s> as a prediction."""

    def __init__(self, documents, boundary, vocab_size, order, fallback=(0.5, 1.0, 1.5), prune=()):
        self.vocab_size, self.order, self.fallback = vocab_size, order, fallback
        self.raw = [Counter() for _ in range(order + 1)]
        for document in documents:
            text = [boundary, *document, boundary]
            for end in range(1, len(text)):
                for n in range(1, order + 1):
                    if end - n + 1 >= 0:
                        self.raw[n][tuple(text[end - n + 1 : end + 1])] += 1
        self.adjusted = [self._adjust(n, boundary) for n in range(order + 1)]
        self.last = self._last(documents, boundary)
        self.discounts = [self._discounts(n) for n in range(order + 1)]
        thresholds = [prune[min(n, len(prune)) - 1] if n and prune else 0 for n in range(order + 1)]
        self.kept = [
            {gram for gram, count in self.raw[n].items() if count > thresholds[n]}
            for n in range(order + 1)
        ]
        self.after = [defaultdict(list) for _ in range(order + 1)]
        for n in range(1, order + 1):
            for gram, count in self.adjusted[n].items():
                self.after[n][gram[:-1]].append((gram, count))

    def _adjust(self, n, boundary):
        if n in (0, self.order):
            return self.raw[n]
        seen_before = defaultdict(set)
        for gram in self.raw[n + 1]:
            seen_before[gram[1:]].add(gram[0])
        opens = {g for g in self.raw[n] if g[0] == boundary and n > 1}
        return {g: c if g in opens else len(seen_before[g]) for g, c in self.raw[n].items()}

    def _last(self, documents, boundary):
        """The longest n-gram that lmplz sorts last: words by first appearance, compared from the right."""
        seen = dict.fromkeys(word for document in documents for word in document)
        rank = {boundary: -1} | {word: i for i, word in enumerate(seen)}
        grams = [g for n in (1, self.order) for g in self.raw[n]]
        grams += [g for n in range(2, self.order) for g in self.raw[n] if g[0] == boundary]
        return max(grams, key=lambda gram: [rank[word] for word in reversed(gram)])

    def _discounts(self, n):
        counts = Counter(self.adjusted[n].values())
        if 0 < n < self.order and n <= len(self.last):
            counts[self.adjusted[n][self.last[-n:]]] -= 1
            counts[self.raw[n][self.last[-n:]]] += 1
        fallback = (0.0, *self.fallback)
        if not (counts[1] and counts[2] and counts[3]):
            return fallback
        y = counts[1] / (counts[1] + 2 * counts[2])
        found = [j - (j + 1) * y * counts[j + 1] / counts[j] for j in (1, 2, 3)]
        return (0.0, *found) if all(0 <= d <= j for j, d in enumerate(found, 1)) else fallback

    def left(self, context):
        """What the discounts (and pruning) leave to shorter contexts."""
        n = len(context) + 1
        grams = self.after[n].get(context, [])
        if not grams:
            return 1.0
        spared = [
            self.discounts[n][min(count, 3)] if gram in self.kept[n] else count
            for gram, count in grams
        ]
        return max(1e-9, sum(spared) / sum(count for _, count in grams))

    def probability(self, word, context):
        """P(word | context), any context; contexts longer than the order allows are cut."""
        context = tuple(context)[-(self.order - 1) :] if self.order > 1 else ()
        return self._probability(word, context)

    def _probability(self, word, context):
        n = len(context) + 1
        shorter = self._probability(word, context[1:]) if context else 1 / self.vocab_size
        grams = self.after[n].get(context, [])
        gram = (*context, word)
        own = 0.0
        if gram in self.kept[n]:
            count = self.adjusted[n][gram]
            own = (count - self.discounts[n][min(count, 3)]) / sum(c for _, c in grams)
        return own + self.left(context) * shorter

    def log_distribution(self, context):
        return [math.log(self.probability(word, context)) for word in range(self.vocab_size)]
