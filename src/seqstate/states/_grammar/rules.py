"""What a table of binary rules can be asked: sums and maxima for a chart, prefixes, and a node's children."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Algebra, Chart, Tensors

Pick = Callable[[Float[Tensor, "M K"]], Int[Tensor, " M"]]  # one of K weights in each of M lines
GATHERED = 1 << 24  # numbers a top-down step holds at once


@dataclass(frozen=True)
class Nodes:
    """M constituents of one width, to be taken apart. `row` counts chart rows."""

    row: Int[Tensor, " M"]
    start: Int[Tensor, " M"]
    label: Int[Tensor, " M"]
    width: int

    def part(self, chosen: slice) -> Nodes:
        return Nodes(self.row[chosen], self.start[chosen], self.label[chosen], self.width)

    def word(self, chart: Chart, offset: int) -> Float[Tensor, "M P"]:
        """Scaled emission of the word at `offset` from the start."""
        return chart.words.emission[self.start + offset, self.row]

    def left(self, chart: Chart, splits: Int[Tensor, " L"]) -> Float[Tensor, "M L X"]:
        """Cells of the left children of these widths (>= 2)."""
        slot = chart.cells.values.shape[2] - splits
        return chart.cells.values[self.start[:, None] + splits, self.row[:, None], slot]

    def right(self, chart: Chart, splits: Int[Tensor, " L"]) -> Float[Tensor, "M L X"]:
        """Cells of the right children when the left ones have these widths."""
        slot = chart.cells.values.shape[2] - (self.width - splits)
        return chart.cells.values[(self.start + self.width)[:, None], self.row[:, None], slot]

    def weights(self, chart: Chart) -> Float[Tensor, "M w_minus_1"]:
        """Scales of all splits, left width 1 first, relative to the largest."""
        cells, splits = chart.cells, torch.arange(1, self.width, device=self.row.device)
        slots = cells.scale.shape[2]
        row, start = self.row[:, None], self.start[:, None]
        logs = cells.scale[start + splits, row, slots - splits]
        logs = logs + cells.scale[start + self.width, row, slots - (self.width - splits)]
        top = logs.amax(-1, keepdim=True).clamp_min(torch.finfo(logs.dtype).min / 4)
        return (logs - top).exp().to(cells.values.dtype)


class Rules(ABC):
    """Binary rules A -> B C with B, C in S = A + P symbols; root weights come with each question."""

    nonterminals: int
    preterminals: int
    memory: int  # numbers remembered per word boundary for prefix probabilities
    by_row: bool  # whether the rules differ between the rows of a batch

    @abstractmethod
    def sums(self) -> Algebra:
        """Probabilities."""

    @abstractmethod
    def maxima(self) -> Algebra:
        """Best derivations; without gradient."""

    @abstractmethod
    def total(self, cell: Float[Tensor, "*M X"], roots: Tensor) -> Float[Tensor, "*M"]:
        """Weight of a cell whose nonterminal has these root weights ([A], or one line a cell)."""

    @abstractmethod
    def labels(self, cell: Float[Tensor, "*M X"], maxima: bool) -> Float[Tensor, "*M A"]:
        """A cell's inside weight of each nonterminal."""

    @abstractmethod
    def expand(
        self, chart: Chart, nodes: Nodes, pick: Pick, maxima: bool
    ) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Int[Tensor, " M"]]:
        """Choose each node's split (width of the left child) and its two children's symbols."""

    @abstractmethod
    def start(self, roots: Float[Tensor, " S"]) -> tuple[Tensor, Tensor]:
        """Before the first word: memory, and the expected weight [P] of each next preterminal."""

    @abstractmethod
    def advance(
        self,
        memories: Float[Tensor, "B L H"],
        weights: Float[Tensor, "B L"],
        cells: Float[Tensor, "B L_minus_1 X"],
        first: Tensors,
    ) -> tuple[Tensor, Tensor]:
        """After one more word: memory [B H] and next preterminals [B P].

        The symbol that is due now is the right sister of a constituent that ends here. That constituent
        started at one of L earlier boundaries, whose `memories` say which rules were waiting for it: the
        last of them is before the newest word itself (`first`: its contribution), the others pair with
        `cells`. Left corners are closed by a matrix inverse (Jelinek & Lafferty 1991).
        """

    @abstractmethod
    def score(self, parent: int, left: int, right: int) -> Float[Tensor, "*rows"]:
        """Weight of one rule (for every row, if tables differ by row)."""


def chunked(nodes: Nodes, per_node: int, expand: Callable[[Nodes], tuple]) -> tuple:
    """Expand so many nodes at a time that the numbers held stay below GATHERED."""
    step = max(1, GATHERED // max(1, per_node))
    parts = [expand(nodes.part(slice(i, i + step))) for i in range(0, len(nodes.row), step)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
