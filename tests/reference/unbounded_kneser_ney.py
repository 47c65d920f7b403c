"""Kneser-Ney over all contexts of any length, by dictionaries: the slow twin of the context tree."""

from __future__ import annotations

from collections import defaultdict


class SlowUnbounded:
    """`amounts[k][n]`: discount of count k (3: or more) and `spread[n]` for contexts of n words."""

    def __init__(self, documents, boundary, vocab_size, longest, amounts, spread):
        self.vocab_size, self.longest = vocab_size, longest
        self.amounts, self.spread = amounts, spread
        self.places = defaultdict(list)  # context -> (word before or None, next word) of its places
        for document in documents:
            text = [boundary, *document, boundary]
            for end in range(1, len(text)):
                for length in range(min(end, longest) + 1):
                    further = length < longest and end - length > 0
                    before = text[end - length - 1] if further else None
                    self.places[tuple(text[end - length : end])].append((before, text[end]))

    def probability(self, word, history):
        p = 1 / self.vocab_size
        for length in range(min(len(history), self.longest) + 1):
            places = self.places.get(tuple(history[len(history) - length :]))
            if places is None:
                break
            p = self._at(places, length, word, p)
        return p

    def _at(self, places, length, word, shorter):
        befores = {before for before, _ in places}
        is_node = len(places) > 1 and (len(befores) > 1 or None in befores)
        n = min(length, len(self.spread) - 1)
        if length and not is_node:
            kinds = {following for _, following in places}
            left = self.spread[n]
            return (1 - left) / len(kinds) * (word in kinds) + left * shorter
        counts = defaultdict(int)
        for _, following in {place for place in places if place[0] is not None}:
            counts[following] += 1
        for before, following in places:
            counts[following] += before is None
        discount = {w: self.amounts[min(count, 3)][n] for w, count in counts.items()}
        own = counts[word] - discount[word] if word in discount else 0
        return (own + sum(discount.values()) * shorter) / sum(counts.values())
