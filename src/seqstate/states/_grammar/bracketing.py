"""The summed weight of all labellings of one bracketing, at a cost linear in the sentence's length."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Algebra, Words


@torch.no_grad()
def fill_nodes(
    algebra: Algebra, words: Words, nodes: Tensor, rows: Int[Tensor, " K"]
) -> tuple[Float[Tensor, "K X"], Float[Tensor, " K"]]:
    """Cell and scale of the widest node of each of K bracketings over chart rows `rows`.

    nodes[k, start, width - 1]: the span is a constituent. A bracketing of a single word has no cell: zeros.
    """
    n = nodes.shape[1]
    first, last = algebra.words(words.emission)
    left, right = algebra.views(words.emission.new_zeros(1, algebra.size), *algebra.rules)
    lefts, rights = (
        left.new_zeros(*nodes.shape, left.shape[-1]),
        right.new_zeros(*nodes.shape, right.shape[-1]),
    )
    scales = words.scale.T[rows].unsqueeze(-1).repeat(1, 1, n)  # width 1 is in slot 0
    top = words.emission.new_zeros(len(rows), algebra.size)
    top_scale = words.scale.new_zeros(len(rows))
    for width in range(2, n + 1):
        k, start = nodes[:, :, width - 1].nonzero(as_tuple=True)
        if not len(k):
            continue
        split = _splits(nodes, k, start, width)
        rest, after = width - split, start + split
        kind = torch.stack([split == 1, (split > 1) & (rest > 1), rest == 1], -1)
        one_left, one_right = lefts[k, start, split - 1], rights[k, after, rest - 1]
        cell = algebra.merge(
            _twice(one_left),
            _twice(one_right),
            kind[:, None].to(one_left.dtype) if width > 2 else one_left.new_ones(len(k), 1, 1),
            tuple(tensor[start, rows[k]].unsqueeze(1) for tensor in first),
            tuple(tensor[start + width - 1, rows[k]].unsqueeze(1) for tensor in last),
            *algebra.rules,
        )
        peak = cell.amax(-1, keepdim=True)
        cell = (cell / peak.clamp_min(torch.finfo(cell.dtype).tiny)).squeeze(1)
        views = algebra.views(cell, *algebra.rules)
        lefts[k, start, width - 1], rights[k, start, width - 1] = views
        scale = scales[k, start, split - 1] + scales[k, after, rest - 1]
        scale = scale + peak.flatten().double().log()
        scales[k, start, width - 1] = scale
        top[k], top_scale[k] = cell, scale  # wider nodes come later
    return top, top_scale


def _splits(nodes: Tensor, k: Tensor, start: Tensor, width: int) -> Int[Tensor, " M"]:
    """Width of the left child: the one split both of whose parts are constituents."""
    left = torch.arange(1, width, device=nodes.device)
    both = nodes[k[:, None], start[:, None], left - 1]
    both = both & nodes[k[:, None], start[:, None] + left, width - left - 1]
    return both.int().argmax(-1) + 1


def _twice(cell: Float[Tensor, "M Y"]) -> Float[Tensor, "M 1 2 Y"]:
    """One child in both roles a chart step has for it: beside a word, and beside a longer span."""
    return cell[:, None, None].expand(-1, 1, 2, -1)
