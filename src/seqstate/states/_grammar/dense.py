"""One weight per binary rule: a full table of A x S x S."""

from __future__ import annotations

from functools import cached_property, reduce
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Algebra, Chart, Tensors
from seqstate.states._grammar.rules import Nodes, Pick, Rules, chunked


class Dense(Rules):
    """table: weights, not logarithms; [A S S], or [B A S S] where they differ by row (no prefixes then)."""

    def __init__(self, table: Float[Tensor, "*rows A S S"]) -> None:
        self.table, self.by_row = table, table.ndim == 4
        self.nonterminals = self.memory = a = table.shape[-3]
        self.preterminals = table.shape[-1] - a

    @cached_property
    def corner(self) -> Float[Tensor, "A S"]:
        """Weight of each first child, whatever the second."""
        return self.table.sum(-1)

    @cached_property
    def closure(self) -> Float[Tensor, "A A"]:
        """Chains of first children of any length."""
        return closure(self.corner[:, : self.nonterminals])

    def sums(self) -> Algebra:
        return DenseSum(self.table)

    def maxima(self) -> Algebra:
        return DenseMax(self.table)

    def total(self, cell: Float[Tensor, "*M X"], roots: Tensor) -> Float[Tensor, "*M"]:
        return (cell * roots).sum(-1)

    def labels(self, cell: Float[Tensor, "*M X"], maxima: bool) -> Float[Tensor, "*M A"]:
        return cell

    def score(self, parent: int, left: int, right: int) -> Float[Tensor, "*rows"]:
        return self.table[..., parent, left, right]

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
        waiting = memories * weights.unsqueeze(-1)
        done = (waiting[:, :-1].transpose(1, 2) @ cells).flatten(
            1
        )  # parent x left child that ends here
        due = done @ self.table[:, :a].flatten(0, 1)
        after_word = torch.cat(first, -1)  # B A S: rules whose left child is the newest word
        due = due + (waiting[:, -1:] @ after_word).squeeze(1)
        return self._close(due)

    def _close(self, due: Float[Tensor, "*B S"]) -> tuple[Tensor, Tensor]:
        a = self.nonterminals
        predicted = due[..., :a] @ self.closure
        return predicted, due[..., a:] + predicted @ self.corner[:, a:]

    def expand(
        self, chart: Chart, nodes: Nodes, pick: Pick, maxima: bool
    ) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Int[Tensor, " M"]]:
        a, p = self.nonterminals, self.preterminals
        per_node = max(1, nodes.width - 3) * a * a + 2 * a * p + p * p
        return chunked(nodes, per_node, lambda part: self._expand(chart, part, pick))

    def _expand(self, chart: Chart, nodes: Nodes, pick: Pick) -> tuple[Tensor, Tensor, Tensor]:
        a, p, width = self.nonterminals, self.preterminals, nodes.width
        table = self.table[nodes.row, nodes.label] if self.by_row else self.table[nodes.label]
        first, last = nodes.word(chart, 0), nodes.word(chart, width - 1)
        if width == 2:
            choice = pick((table[:, a:, a:] * first[:, :, None] * last[:, None, :]).flatten(1))
            return torch.ones_like(choice), a + choice // p, a + choice % p
        splits = torch.arange(1, width, device=first.device)
        weight = nodes.weights(chart)
        left, right = nodes.left(chart, splits[1:]), nodes.right(chart, splits[:-1])
        word_left = table[:, a:, :a] * first[:, :, None] * (right[:, 0] * weight[:, :1])[:, None]
        word_right = table[:, :a, a:] * (left[:, -1] * weight[:, -1:])[:, :, None] * last[:, None]
        longer = (left[:, :-1] * weight[:, 1:-1, None])[..., None] * right[:, 1:, None, :]
        longer = longer * table[:, None, :a, :a]
        choice = pick(
            torch.cat([longer.flatten(1), word_left.flatten(1), word_right.flatten(1)], 1)
        )
        inner, edge = (width - 3) * a * a, a * p
        in_left, in_right = choice - inner, choice - inner - edge
        return _either(
            (choice < inner, (choice // (a * a) + 2, choice // a % a, choice % a)),
            (in_left < edge, (torch.ones_like(choice), a + in_left // a, in_left % a)),
            (
                in_left >= edge,
                (torch.full_like(choice, width - 1), in_right // p, a + in_right % p),
            ),
        )


def closure(corner: Float[Tensor, "A A"]) -> Float[Tensor, "A A"]:
    """(I - corner)^-1: expected visits along a chain of first children; in float64, cast back."""
    exact = corner.double()
    unit = torch.eye(corner.shape[0], dtype=exact.dtype, device=exact.device)
    return torch.linalg.inv(unit - exact).to(corner.dtype)


def _either(*cases: tuple[Tensor, tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each line, the columns of the first case that holds."""
    columns = cases[-1][1]
    for holds, values in reversed(cases[:-1]):
        columns = tuple(torch.where(holds, a, b) for a, b in zip(values, columns, strict=True))
    return columns


class DenseSum(Algebra):
    """Sums over rules and splits.

    Splits into two longer spans cost one product of A x L by L x A, summed before the rules are looked at;
    splits at the first or last word use the rules contracted with that word once per position.
    """

    def __init__(self, table: Float[Tensor, "*rows A S S"]) -> None:
        self.size = a = table.shape[-3]
        self.table = table
        self.batched = table.ndim == 4
        both_longer = table[..., :a, :a].flatten(-2).transpose(-1, -2)
        self.rules = (both_longer.contiguous(),)

    def words(self, emission: Float[Tensor, "N B P"]) -> tuple[Tensors, Tensors]:
        a, rows = self.size, "b" if self.batched else ""
        word_left = torch.einsum(f"nbp,{rows}apc->nbac", emission, self.table[..., a:, :])
        word_right = torch.einsum(f"nbp,{rows}acp->nbac", emission, self.table[..., :a, a:])
        return (
            (word_left[..., :a].contiguous(), word_left[..., a:].contiguous()),
            (word_right.contiguous(), emission),
        )

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
            return _apply(first[1], last[1])
        cell = weight[..., :1] * _apply(first[0], right[:, :, 0])
        cell = cell + weight[..., -1:] * _apply(last[0], left[:, :, -1])
        if weight.shape[-1] == 2:
            return cell
        scaled = left[:, :, :-1] * weight[..., 1:-1].unsqueeze(-1)
        pairs = (scaled.transpose(-1, -2) @ right[:, :, 1:]).flatten(-2)
        if self.batched:
            return cell + torch.einsum("cbx,bxa->cba", pairs, rules[0])
        return cell + pairs @ rules[0]

    def views(self, cell: Tensor, *rules: Any) -> tuple[Tensor, Tensor]:
        return cell, cell


class DenseMax(Algebra):
    """The same with maxima for sums: scores of best subtrees (Viterbi); forward only."""

    def __init__(self, table: Float[Tensor, "*rows A S S"]) -> None:
        self.size = table.shape[-3]
        self.table = table.detach()
        self.rules = ()

    def words(self, emission: Float[Tensor, "N B P"]) -> tuple[Tensors, Tensors]:
        a, table = self.size, self.table
        words = emission[..., None, None].unbind(
            2
        )  # one preterminal at a time: N B A S, not times P
        lefts = (word * table[..., a + p, :] for p, word in enumerate(words))
        rights = (word * table[..., :a, a + p] for p, word in enumerate(words))
        word_left, word_right = reduce(torch.maximum, lefts), reduce(torch.maximum, rights)
        return (word_left[..., :a], word_left[..., a:]), (word_right, emission)

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
            return (first[1] * last[1].unsqueeze(-2)).amax(-1)
        edges = torch.maximum(
            weight[..., :1] * (first[0] * right[:, :, 0].unsqueeze(-2)).amax(-1),
            weight[..., -1:] * (last[0] * left[:, :, -1].unsqueeze(-2)).amax(-1),
        )
        if weight.shape[-1] == 2:
            return edges
        scaled = left[:, :, :-1] * weight[..., 1:-1].unsqueeze(-1)
        pairs = scaled[:, :, 0, :, None] * right[:, :, 1, None, :]
        for split in range(1, scaled.shape[2]):
            pairs = torch.maximum(
                pairs, scaled[:, :, split, :, None] * right[:, :, split + 1, None]
            )
        a = self.size
        best = [(pairs * self.table[..., i, :a, :a]).amax((-2, -1)) for i in range(a)]
        return torch.maximum(edges, torch.stack(best, -1))

    def views(self, cell: Tensor, *rules: Any) -> tuple[Tensor, Tensor]:
        return cell, cell


def _apply(matrix: Float[Tensor, "C B A Y"], vector: Float[Tensor, "C B Y"]) -> Tensor:
    """Matrix times vector; for many small ones this form is 2 to 3 times faster than a batched product."""
    return (matrix * vector.unsqueeze(-2)).sum(-1)
