"""Slow twins of tasks: one position at a time, by the definition."""

from __future__ import annotations

import statistics

IGNORE = -100


def hop(symbols: list[int], hops: int) -> list[int]:
    """The k-hop answer at every position (Sanford et al. 2024), IGNORE where there is none."""

    def find(i: int) -> int | None:
        earlier = [j + 1 for j in range(i) if symbols[j] == symbols[i]]
        return max(earlier) if earlier else None

    answers = []
    for start in range(len(symbols)):
        place: int | None = start
        for _ in range(hops):
            place = None if place is None else find(place)
        answers.append(IGNORE if place is None else symbols[place])
    return answers


def recall(tokens: list[int], pairs: int) -> list[int]:
    """The value paired with each token after the pairs, IGNORE where it is no key."""
    memory = dict(zip(tokens[0 : 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
    return [
        memory.get(token, IGNORE) if t >= 2 * pairs else IGNORE for t, token in enumerate(tokens)
    ]


def list_value(text: str) -> int:
    """Value of a ListOps expression such as `[MAX 3 [SM 4 9 ] 1 ]`."""

    def read(position: int) -> tuple[int, int]:
        if not words[position].startswith("["):
            return int(words[position]), position + 1
        operation, members = words[position], []
        position += 1
        while words[position] != "]":
            value, position = read(position)
            members.append(value)
        return int(OPERATIONS[operation](members)), position + 1

    words = text.split()
    return read(0)[0]


OPERATIONS = {
    "[MAX": max,
    "[MIN": min,
    "[MED": statistics.median,
    "[SM": lambda members: sum(members) % 10,
}
