"""Binary rules of rank R: P(A -> B C) = sum_r share[A, r] left[r, B] right[r, C].

A table of A x S x S costs its size at every span; here a cell keeps R numbers, a split costs R and a span
R x R, so hundreds of symbols are affordable. Cohen, Satta & Collins 2013; Yang, Zhao & Tu 2021 (TN-PCFG);
Yang, Liu & Tu 2022 (dynamic programming in rank space). With `share` the identity (R = A) the two children
are independent given their parent: Liu, Yang & Tu 2023 (SimplePCFG).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Algebra, Chart, Tensors
from seqstate.states._grammar.dense import closure
from seqstate.states._grammar.rules import Nodes, Pick, Rules, chunked


class LowRank(Rules):
    """share: [A R], sums to 1 over R. left, right: [R S], sum to 1 over S.

    Maxima are taken over derivations in which every node also chooses its r; that is the best tree only
    where `share` is the identity.
    """

    by_row = False

    def __init__(
        self,
        share: Float[Tensor, "A R"],
        left: Float[Tensor, "R S"],
        right: Float[Tensor, "R S"],
    ) -> None:
        self.share, self.left, self.right = share, left, right
        self.nonterminals, self.memory = a, _ = share.shape
        self.preterminals = left.shape[1] - a

    @cached_property
    def closure(self) -> Float[Tensor, "R R"]:
        """Chains of first children of any length, in rank space."""
        return closure(self.left[:, : self.nonterminals] @ self.share)

    def sums(self) -> Algebra:
        return RankSum(self.share, self.left, self.right)

    def maxima(self) -> Algebra:
        return RankMax(self.share, self.left, self.right)

    def total(self, cell: Float[Tensor, "*M X"], roots: Tensor) -> Float[Tensor, "*M"]:
        return (cell * (roots @ self.share)).sum(-1)

    def labels(self, cell: Float[Tensor, "*M X"], maxima: bool) -> Float[Tensor, "*M A"]:
        if maxima:
            return max_product(cell, self.share.T)
        return cell @ self.share.T

    def score(self, parent: int, left: int, right: int) -> Float[Tensor, "*rows"]:
        return (self.share[parent] * self.left[:, left] * self.right[:, right]).sum(-1)

    def start(self, roots: Float[Tensor, " S"]) -> tuple[Tensor, Tensor]:
        return self._close(roots)

    def advance(
        self,
        memories: Float[Tensor, "B L H"],
        weights: Float[Tensor, "B L"],
        cells: Float[Tensor, "B L_minus_1 X"],
        first: Tensors,
    ) -> tuple[Tensor, Tensor]:
        a = self.nonterminals
        left = cells @ (self.share.T @ self.left[:, :a].T)
        left = torch.cat([left, first[0].unsqueeze(1)], 1)
        done = (memories * left * weights.unsqueeze(-1)).sum(1)  # by r: the left child ends here
        return self._close(done @ self.right)

    def _close(self, due: Float[Tensor, "*B S"]) -> tuple[Tensor, Tensor]:
        a = self.nonterminals
        chosen = due[..., :a] @ self.share @ self.closure
        return chosen, due[..., a:] + chosen @ self.left[:, a:]

    def expand(
        self, chart: Chart, nodes: Nodes, pick: Pick, maxima: bool
    ) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Int[Tensor, " M"]]:
        per_node = nodes.width * self.memory
        return chunked(nodes, per_node, lambda part: self._expand(chart, part, pick, maxima))

    def _expand(
        self, chart: Chart, nodes: Nodes, pick: Pick, maxima: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        algebra = self.maxima() if maxima else self.sums()
        width = nodes.width
        first, last = nodes.word(chart, 0), nodes.word(chart, width - 1)
        splits = torch.arange(1, width, device=first.device)
        left_cells, right_cells = nodes.left(chart, splits[1:]), nodes.right(chart, splits[:-1])
        (word_left,), (word_right,) = algebra.words_of(first), algebra.words_of(last, last=True)
        left = torch.cat([word_left[:, None], algebra.views(left_cells, *algebra.rules)[0]], 1)
        right = torch.cat([algebra.views(right_cells, *algebra.rules)[1], word_right[:, None]], 1)
        joint = nodes.weights(chart).unsqueeze(-1) * left * right  # M L R
        joint = joint * self.share[nodes.label][:, None]
        choice = pick(joint.flatten(1))
        rank, split = choice % self.memory, choice // self.memory
        rows = torch.arange(len(rank), device=rank.device)
        children = []
        for table, word, cells, is_word, at in (
            (self.left, first, left_cells, split == 0, split - 1),
            (self.right, last, right_cells, split == width - 2, split),
        ):
            children.append(self._child(table[rank], word, cells, rows, is_word, at, pick, maxima))
        return split + 1, children[0], children[1]

    def _child(
        self,
        table: Float[Tensor, "M S"],
        word: Float[Tensor, "M P"],
        cells: Float[Tensor, "M L X"],
        rows: Int[Tensor, " M"],
        is_word: Tensor,
        at: Int[Tensor, " M"],
        pick: Pick,
        maxima: bool,
    ) -> Int[Tensor, " M"]:
        """The symbol of one child: a preterminal where it is a word, else a nonterminal of its cell."""
        a = self.nonterminals
        weight = torch.cat([table.new_zeros(len(rows), a), table[:, a:] * word], 1)
        if cells.shape[1]:
            inside = self.labels(cells[rows, at.clamp(0, cells.shape[1] - 1)], maxima)
            longer = torch.cat([table[:, :a] * inside, torch.zeros_like(word)], 1)
            weight = torch.where(is_word[:, None], weight, longer)
        return pick(weight)


class RankSum(Algebra):
    """Sums in rank space: a cell holds, by r, the weight of its two children under r."""

    def __init__(self, share: Tensor, left: Tensor, right: Tensor) -> None:
        a, self.size = share.shape
        self.left_words, self.right_words = left[:, a:], right[:, a:]
        self.rules = (share.T @ left[:, :a].T, share.T @ right[:, :a].T)

    def words(self, emission: Float[Tensor, "N B P"]) -> tuple[Tensors, Tensors]:
        return self.words_of(emission), self.words_of(emission, last=True)

    def words_of(self, emission: Float[Tensor, "*N P"], last: bool = False) -> Tensors:
        return (emission @ (self.right_words if last else self.left_words).T,)

    def merge(
        self,
        left: Tensor,
        right: Tensor,
        weight: Tensor,
        first: Tensors,
        last: Tensors,
        *rules: Any,
    ) -> Float[Tensor, "C B X"]:
        if weight.shape[-1] == 1:
            return first[0] * last[0]
        cell = weight[..., :1] * first[0] * right[:, :, 0]
        cell = cell + weight[..., -1:] * last[0] * left[:, :, -1]
        if weight.shape[-1] == 2:
            return cell
        inner = weight[..., 1:-1]
        return cell + torch.einsum("cbl,cblr,cblr->cbr", inner, left[:, :, :-1], right[:, :, 1:])

    def views(self, cell: Tensor, *rules: Any) -> tuple[Tensor, Tensor]:
        return cell @ rules[0], cell @ rules[1]


class RankMax(Algebra):
    """The same with maxima for sums; forward only."""

    def __init__(self, share: Tensor, left: Tensor, right: Tensor) -> None:
        share, left, right = share.detach(), left.detach(), right.detach()
        a, self.size = share.shape
        self.left_words, self.right_words = left[:, a:], right[:, a:]
        self.rules = (
            max_product(share.T, left[:, :a].T),
            max_product(share.T, right[:, :a].T),
        )

    def words(self, emission: Float[Tensor, "N B P"]) -> tuple[Tensors, Tensors]:
        return self.words_of(emission), self.words_of(emission, last=True)

    def words_of(self, emission: Float[Tensor, "*N P"], last: bool = False) -> Tensors:
        return (max_product(emission, (self.right_words if last else self.left_words).T),)

    def merge(
        self,
        left: Tensor,
        right: Tensor,
        weight: Tensor,
        first: Tensors,
        last: Tensors,
        *rules: Any,
    ) -> Float[Tensor, "C B X"]:
        if weight.shape[-1] == 1:
            return first[0] * last[0]
        whole_left = torch.cat([first[0].unsqueeze(2), left], 2)
        whole_right = torch.cat([right, last[0].unsqueeze(2)], 2)
        return (weight.unsqueeze(-1) * whole_left * whole_right).amax(2)

    def views(self, cell: Tensor, *rules: Any) -> tuple[Tensor, Tensor]:
        return max_product(cell, rules[0]), max_product(cell, rules[1])


def max_product(lines: Float[Tensor, "*M X"], table: Float[Tensor, "X Y"]) -> Float[Tensor, "*M Y"]:
    """A matrix product with maxima for sums, a few columns at a time."""
    step = max(1, (1 << 22) // max(1, lines.numel()))
    parts = [(lines.unsqueeze(-1) * part).amax(-2) for part in table.split(step, 1)]
    return torch.cat(parts, -1)
