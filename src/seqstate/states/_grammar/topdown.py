"""Trees out of a chart, from the root down: sampled exactly, or the best."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Chart
from seqstate.states._grammar.rules import Nodes, Pick, Rules
from seqstate.text.trees import Tree


def sampler(generator: torch.Generator | None) -> Pick:
    """Draw in proportion to the weights."""
    return lambda weights: torch.multinomial(weights, 1, generator=generator).squeeze(-1)


def best(weights: Float[Tensor, "M K"]) -> Int[Tensor, " M"]:
    """The heaviest; the first of equals."""
    return weights.argmax(-1)


@torch.no_grad()
def derive(
    rules: Rules,
    chart: Chart,
    roots: Float[Tensor, "B S"],
    lengths: Int[Tensor, " B"],
    rows: Int[Tensor, " K"],
    pick: Pick,
    *,
    maxima: bool = False,
) -> Int[Tensor, "K N N"]:
    """One tree for each of `rows` (chart rows, repeats allowed): `labels[k, start, width - 1]`, -1: no node.

    Rows must have a tree of positive weight.
    """
    words = chart.words.scale.shape[0]
    labels = torch.full((len(rows), words, words), -1, device=rows.device)
    lengths = lengths[rows]
    every = torch.arange(len(rows), device=rows.device)
    top = _root_weights(rules, chart, roots[rows], lengths, rows, maxima)
    labels[every, 0, lengths - 1] = pick(top)
    for width in range(words, 1, -1):
        tree, start = (labels[:, :, width - 1] >= 0).nonzero(as_tuple=True)
        if not len(tree):
            continue
        nodes = Nodes(rows[tree], start, labels[tree, start, width - 1], width)
        split, left, right = rules.expand(chart, nodes, pick, maxima)
        labels[tree, start, split - 1] = left
        labels[tree, start + split, width - split - 1] = right
    return labels


def _root_weights(
    rules: Rules, chart: Chart, roots: Tensor, lengths: Tensor, rows: Tensor, maxima: bool
) -> Float[Tensor, "K S"]:
    a, cells = rules.nonterminals, chart.cells.values
    slot = (cells.shape[2] - lengths).clamp_min(0)
    longer = rules.labels(cells[lengths, rows, slot], maxima) * roots[:, :a]
    single = chart.words.emission[0, rows] * roots[:, a:]
    one = (lengths == 1)[:, None]
    return torch.cat([longer * ~one, single * one], 1)


def to_trees(
    labels: Int[Tensor, "K N N"],
    lengths: Int[Tensor, " K"],
    names: list[str],
    words: list[list] | None = None,
) -> list[Tree]:
    """Trees from label tables; leaves are the words given, else positions."""
    found = []
    for k, (table, length) in enumerate(zip(labels.tolist(), lengths.tolist(), strict=True)):
        leaves = words[k] if words is not None else list(range(length))
        found.append(_tree(table, 0, length, names, leaves))
    return found


def _tree(table: list, start: int, width: int, names: list[str], leaves: list) -> Tree:
    label = names[table[start][width - 1]]
    if width == 1:
        return Tree(label, (leaves[start],))
    split = next(
        left
        for left in range(1, width)
        if table[start][left - 1] >= 0 and table[start + left][width - left - 1] >= 0
    )
    children = (
        _tree(table, start, split, names, leaves),
        _tree(table, start + split, width - split, names, leaves),
    )
    return Tree(label, children)
