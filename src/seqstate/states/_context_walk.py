"""Finding, for many places of a text at once, the longest context that a context tree has."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from seqstate.states._sorted_tables import find

BLOCK = 8  # words compared at once along an edge, doubled while all agree


class Edges(NamedTuple):
    """The edges of a ContextTree as tables with a last entry, and the text its places point into."""

    keys: Int[Tensor, " E"]
    node: Int[Tensor, " E"]
    length: Int[Tensor, " E"]
    at: Int[Tensor, " E"]
    text: Int[Tensor, " N"]
    bits: int


class Path(NamedTuple):
    """Where Q contexts end in the tree.

    steps: (queries, the node each arrives at), from short contexts to long; the root is not among them.
    node: the last of them (0: the root), base: its length. length: words of the longest match; at: a place of
    the text where it occurs. inside: the match ends within an edge that leads to the node `onward`, or to a
    context that occurs once (-1).
    """

    steps: list[tuple[Int[Tensor, " A"], Int[Tensor, " A"]]]
    node: Int[Tensor, " Q"]
    base: Int[Tensor, " Q"]
    length: Int[Tensor, " Q"]
    at: Int[Tensor, " Q"]
    inside: Bool[Tensor, " Q"]
    onward: Int[Tensor, " Q"]


def walk(
    edges: Edges, words: Int[Tensor, "B W"], row: Int[Tensor, " Q"], end: Int[Tensor, " Q"]
) -> Path:
    """Match words[row, end], words[row, end - 1], ... as far as the tree goes.

    Column 0 of `words` holds an id that no text has, so that every match ends there.
    """
    node, base, length, at = (torch.zeros_like(row) for _ in range(4))
    inside, onward = torch.zeros_like(row, dtype=torch.bool), torch.full_like(row, -1)
    active, steps = torch.arange(len(row), device=row.device), []
    while len(active):
        done = length[active]
        word = words[row[active], end[active] - done]
        edge, found = find(edges.keys, (node[active] << edges.bits) | word)
        active, edge, done = active[found], edge[found], done[found]
        goal, to = edges.length[edge].long(), edges.node[edge].long()
        at[active] = edges.at[edge].long()
        reached = done + 1
        longer = (goal > reached).nonzero()[:, 0]
        if len(longer):
            who, skip = active[longer], reached[longer]
            reached[longer] += _agreeing(
                edges.text, at[who] - skip, words, row[who], end[who] - skip, goal[longer] - skip
            )
        length[active] = reached
        arrived = (to >= 0) & (reached == goal)
        rest = active[~arrived]
        inside[rest], onward[rest] = True, to[~arrived]
        active = active[arrived]
        node[active], base[active] = to[arrived], reached[arrived]
        if len(active):
            steps.append((active, to[arrived]))
    return Path(steps, node, base, length, at, inside, onward)


def _agreeing(
    text: Int[Tensor, " N"],
    at: Int[Tensor, " Q"],
    words: Int[Tensor, "B W"],
    row: Int[Tensor, " Q"],
    end: Int[Tensor, " Q"],
    limit: Int[Tensor, " Q"],
) -> Int[Tensor, " Q"]:
    """How many words agree, read backwards from text[at] and words[row, end]; at most `limit`."""
    run, active, block = torch.zeros_like(at), torch.arange(len(at), device=at.device), BLOCK
    while len(active):
        step = run[active, None] + torch.arange(block, device=at.device)
        theirs = text[(at[active, None] - step).clamp(min=0)]
        ours = words[row[active, None], (end[active, None] - step).clamp(min=0)]
        same = (ours == theirs) & (step < limit[active, None])
        agree = same.long().cumprod(1).sum(1)
        run[active] += agree
        active = active[agree == block]
        block = min(2 * block, 256)
    return run
