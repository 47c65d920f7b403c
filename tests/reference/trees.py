"""Slow twins of the grammar charts: every binary tree and every short string, one at a time.

Symbols are numbered: nonterminals below `a`, preterminal p is a + p. A tree is (symbol, position) for a
word and (symbol, left, right) above. Tables are nested lists of weights: roots[symbol],
rules[parent][left][right], terms[position][preterminal].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def all_trees(a: int, p: int, start: int, end: int) -> Iterator[tuple]:
    """Every labelled binary tree over the words start..end-1."""
    if end - start == 1:
        for tag in range(p):
            yield (a + tag, start)
        return
    for split in range(start + 1, end):
        lefts, rights = list(all_trees(a, p, start, split)), list(all_trees(a, p, split, end))
        yield from itertools.product(range(a), lefts, rights)


def weight(tree: tuple, roots, rules, terms, a: int) -> float:
    """Product of the root's, every rule's and every word's weight."""
    return roots[tree[0]] * inside_weight(tree, rules, terms, a)


def inside_weight(tree: tuple, rules, terms, a: int) -> float:
    if len(tree) == 2:
        return terms[tree[1]][tree[0] - a]
    symbol, left, right = tree
    children = inside_weight(left, rules, terms, a) * inside_weight(right, rules, terms, a)
    return rules[symbol][left[0]][right[0]] * children


def spans(tree: tuple) -> list[tuple[int, int, int]]:
    """(symbol, start, end) of every node."""
    if len(tree) == 2:
        return [(tree[0], tree[1], tree[1] + 1)]
    left, right = spans(tree[1]), spans(tree[2])
    start, end = min(s for _, s, _ in left), max(e for *_, e in right)
    return [(tree[0], start, end), *left, *right]


def bracketing(tree: tuple):
    """The tree without its labels."""
    return "w" if len(tree) == 2 else (bracketing(tree[1]), bracketing(tree[2]))


def all_strings(vocabulary, longest: int) -> Iterator[tuple]:
    """Every string of 0 to `longest` words."""
    for length in range(longest + 1):
        yield from itertools.product(vocabulary, repeat=length)
