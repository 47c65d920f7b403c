"""The inside chart: one cell per span of a sentence, filled width by width in scaled linear space.

A cell holds its symbols' inside probabilities divided by their largest, and that largest as a logarithm.
Scaling by cell ("log-einsum-exp") keeps the work in matrix products and still never underflows: the scales
are constants to the gradient, because any constant would do. What a rule table does with two cells is told
by an `Algebra`; sums give probabilities, maxima the best parse.

Cells are filed by end and slot: `cells[e, b, N - width]` is the span [e - width, e) of row b, so that the
slots of one end run over starts from the left. Time comes before the batch, to make slices contiguous.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

Tensors = tuple[Tensor, ...]


class Algebra(ABC):
    """Binary rules as a chart uses them. `rules` are the tensors `merge` and `views` are given back."""

    size: int  # numbers a cell holds
    rules: Tensors

    @abstractmethod
    def words(self, emission: Float[Tensor, "N B P"]) -> tuple[Tensors, Tensors]:
        """What a word contributes as the first word of a span, and as the last; N and B lead."""

    @abstractmethod
    def merge(
        self,
        left: Tensor,
        right: Tensor,
        weight: Tensor,
        first: Tensors,
        last: Tensors,
        *rules: Any,
    ) -> Float[Tensor, "C B X"]:
        """Fill C cells of width w from all their splits.

        left: views [C B w-2 Y] of the left children of width 2 to w - 1; right: [C B w-2 Z] of the right
        children of width w - 1 to 2; weight: [C B w-1] for left widths 1 to w - 1.
        """

    @abstractmethod
    def views(self, cell: Tensor, *rules: Any) -> tuple[Tensor, Tensor]:
        """What a cell is as a left child and as a right child: [... X] to [... Y] and [... Z]."""


@dataclass(frozen=True)
class Words:
    """Emission probabilities by preterminal, divided by their largest, whose logarithm is `scale`.

    Positions that are no word of the row have scale -inf: every span that touches one is impossible.
    """

    emission: Float[Tensor, "N B P"]
    scale: Float[Tensor, "N B"]  # float64, as all scales: they are sums over whole sentences

    @classmethod
    def of(cls, log_emission: Float[Tensor, "N B P"], real: Tensor | None = None) -> Words:
        """Scale log-probabilities; `real` [N B] marks the positions that are words."""
        scale = log_emission.detach().amax(-1)
        shift = scale.clamp_min(torch.finfo(scale.dtype).min)  # all -inf: an impossible word
        emission = (log_emission - shift.unsqueeze(-1)).exp()
        if real is not None:
            emission = emission * real.unsqueeze(-1)
            scale = scale.masked_fill(~real, -torch.inf)
        return cls(emission, scale.double())


@dataclass(frozen=True)
class Cells:
    """All spans of width 2 and more that lie in the first N words (`values`), and every span's scale."""

    values: Float[Tensor, "E B N X"]
    scale: Float[Tensor, "E B N"]  # float64; slot N - 1 is the word that ends here


@dataclass(frozen=True)
class Chart:
    """Filled cells, the words under them, and what each word contributes as the first of a span."""

    cells: Cells
    words: Words
    first: Tensors

    def span(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B X] and scale [B] of one span (width >= 2) of each row."""
        values, slots = self.cells.values, self.cells.values.shape[2]
        rows = torch.arange(values.shape[1], device=values.device)
        slot = slots - (end - start)
        return values[end, rows, slot], self.cells.scale[end, rows, slot]


def fill(
    algebra: Algebra,
    words: Words,
    carried: Cells | None = None,
    bonus: Tensor | None = None,
) -> Chart:
    """The chart of N words; `carried` is the chart of the first few, filled before.

    bonus: factors on the cells, [E B N 1] or [E B N X]; 0 forbids a span, and the gradient of log Z at 1
    is its marginal. Differentiable in emission, rules, carried and bonus (once: the outside pass).
    """
    first, last = algebra.words(words.emission)
    known = None if carried is None else carried.values
    plan = _Plan(
        algebra, words.scale, None if carried is None else carried.scale, len(first), len(last)
    )
    values, scale = _Fill.apply(plan, known, bonus, *first, *last, *algebra.rules)
    return Chart(Cells(values, scale), words, first)


@dataclass(frozen=True)
class _Plan:
    """What the autograd function needs and has no gradient."""

    algebra: Algebra
    word_scale: Tensor
    carried_scale: Tensor | None
    firsts: int
    lasts: int

    def split(self, tensors: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        lasts = self.firsts + self.lasts
        return tensors[: self.firsts], tensors[self.firsts : lasts], tensors[lasts:]


class _Slices:
    """Where the new cells of one width and their children lie, among N words of which P were carried."""

    def __init__(self, width: int, words: int, carried: int) -> None:
        end = max(carried + 1, width)
        self.ends = slice(end, words + 1)
        self.starts = slice(end - width, words - width + 1)
        self.last = slice(end - 1, words)
        self.slot = words - width
        self.left = (self.starts, slice(None), slice(2, width))
        self.right = (self.ends, slice(None), slice(words - width + 1, words - 1))
        self.left_scale = (self.starts, slice(None), slice(1, width))
        self.right_scale = (self.ends, slice(None), slice(words - width + 1, words))


class _Buffers:
    """The buffers while a chart is filled: by end and slot, and by start and width for left children."""

    def __init__(self, plan: _Plan, known: Tensor | None, like: Tensor, rules: Tensors) -> None:
        self.words, batch = plan.word_scale.shape
        n, size = self.words, plan.algebra.size
        self.carried = 0 if known is None else known.shape[2]
        self.values = like.new_zeros(n + 1, batch, n, size)
        self.scale = plan.word_scale.new_full((n + 1, batch, n), -torch.inf)
        self.start_scale = plan.word_scale.new_full((n, batch, n + 1), -torch.inf)
        self.start_scale[:, :, 1] = self.scale[1:, :, n - 1] = plan.word_scale
        left, right = plan.algebra.views(self.values[:0], *rules)
        self.lefts = like.new_zeros(n, batch, n + 1, left.shape[-1])
        self.rights = like.new_zeros(n + 1, batch, n, right.shape[-1])
        if known is not None:
            self._take_over(plan, known, rules)

    def _take_over(self, plan: _Plan, known: Tensor, rules: Tensors) -> None:
        carried, here = self.carried, self.carried_slots()
        left, right = plan.algebra.views(known, *rules)
        self.values[here], self.rights[here] = known, right
        self.scale[here] = plan.carried_scale
        ends, starts, widths = self.carried_spans()
        self.lefts[starts, :, widths] = left[ends, :, carried - widths]
        self.start_scale[starts, :, widths] = plan.carried_scale[ends, :, carried - widths]

    def carried_slots(self) -> tuple[slice, slice, slice]:
        """The part of a chart by end and slot that was there before."""
        return slice(self.carried + 1), slice(None), slice(self.words - self.carried, None)

    def carried_spans(self) -> tuple[Tensor, Tensor, Tensor]:
        """End, start and width of every span among the carried words."""
        corners = torch.tril_indices(self.carried + 1, self.carried + 1, -1)
        ends, starts = corners.to(self.values.device)
        return ends, starts, ends - starts

    def weigh(self, at: _Slices) -> tuple[Tensor, Tensor]:
        """Weights of the splits relative to the heaviest [C B w-1], and its logarithm [C B]."""
        logs = self.start_scale[at.left_scale] + self.scale[at.right_scale]
        top = logs.amax(-1).clamp_min(torch.finfo(torch.float64).min / 4)
        return (logs - top.unsqueeze(-1)).exp().to(self.values.dtype), top

    def put(self, at: _Slices, width: int, cell: Tensor, views: tuple, scale: Tensor) -> None:
        self.values[at.ends, :, at.slot] = cell
        self.lefts[at.starts, :, width] = views[0]
        self.rights[at.ends, :, at.slot] = views[1]
        self.scale[at.ends, :, at.slot] = scale
        self.start_scale[at.starts, :, width] = scale


def _cell(algebra: Algebra, inputs: list, weight: Tensor, bonus: Tensor | None, rules: Tensors):
    """One width's cells scaled to a largest value of 1, their views, and the logarithm of the scale."""
    left, right, first, last = inputs
    cell = algebra.merge(left, right, weight, first, last, *rules)
    if bonus is not None:
        cell = cell * bonus
    peak = cell.detach().amax(-1)
    cell = cell / peak.clamp_min(torch.finfo(cell.dtype).tiny).unsqueeze(-1)
    return cell, algebra.views(cell, *rules), peak.double().log()


class _Fill(torch.autograd.Function):
    """Forward fills the chart; backward is the outside pass, each width's step derived by autograd."""

    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, known: Tensor | None, bonus: Tensor | None, *tensors: Tensor
    ):
        first, last, rules = plan.split(tensors)
        chart = _Buffers(plan, known, tensors[0], rules)
        for width in range(2, chart.words + 1):
            at = _Slices(width, chart.words, chart.carried)
            weight, top = chart.weigh(at)
            inputs = _inputs(chart, at, first, last)
            factor = None if bonus is None else bonus[at.ends, :, at.slot]
            cell, views, peak = _cell(plan.algebra, inputs, weight, factor, rules)
            chart.put(at, width, cell, views, top + peak)
        if any(ctx.needs_input_grad):
            ctx.plan, ctx.chart = plan, chart
            ctx.save_for_backward(known, bonus, *tensors)
        ctx.mark_non_differentiable(chart.scale)
        return chart.values, chart.scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, _: Tensor):
        known, bonus, *tensors = ctx.saved_tensors
        outside = _Outside(ctx.plan, ctx.chart, bonus, tuple(tensors), grad_values)
        for width in range(ctx.chart.words, 1, -1):
            outside.step(width)
        grad_known = None if known is None else outside.carried(known)
        return None, grad_known, outside.grad_bonus, *outside.grads


class _Outside:
    """Gradients while they flow from the widest span down to the words."""

    def __init__(
        self,
        plan: _Plan,
        chart: _Buffers,
        bonus: Tensor | None,
        tensors: Tensors,
        grad_values: Tensor,
    ) -> None:
        self.plan, self.chart, self.bonus, self.grad_values = plan, chart, bonus, grad_values
        self.first, self.last, rules = plan.split(tensors)
        self.rules = tuple(rule.detach().requires_grad_() for rule in rules)
        self.grads = tuple(torch.zeros_like(tensor) for tensor in tensors)
        self.grad_first, self.grad_last, self.grad_rules = plan.split(self.grads)
        self.grad_lefts = torch.zeros_like(chart.lefts)
        self.grad_rights = torch.zeros_like(chart.rights)
        self.grad_bonus = None if bonus is None else torch.zeros_like(bonus)

    def step(self, width: int) -> None:
        """Hand the gradient of one width's cells to their children: compute them again and derive."""
        at = _Slices(width, self.chart.words, self.chart.carried)
        weight, _ = self.chart.weigh(at)
        with torch.enable_grad():
            inputs = _inputs(self.chart, at, self.first, self.last, leaf=True)
            factor = None
            if self.bonus is not None:
                factor = self.bonus[at.ends, :, at.slot].detach().requires_grad_()
            cell, views, _ = _cell(self.plan.algebra, inputs, weight, factor, self.rules)
        sources = [*inputs[0:2], *inputs[2], *inputs[3], *self.rules]
        targets = [self.grad_lefts[at.left], self.grad_rights[at.right]]
        targets += [grad[at.starts] for grad in self.grad_first]
        targets += [grad[at.last] for grad in self.grad_last]
        targets += self.grad_rules
        if factor is not None:
            sources.append(factor)
            targets.append(self.grad_bonus[at.ends, :, at.slot])
        incoming = (
            self.grad_values[at.ends, :, at.slot],
            self.grad_lefts[at.starts, :, width],
            self.grad_rights[at.ends, :, at.slot],
        )
        _add_gradients((cell, *views), sources, incoming, targets)

    def carried(self, known: Tensor) -> Tensor:
        """Gradient of the cells that were there before."""
        carried = self.chart.carried
        here = self.chart.carried_slots()
        with torch.enable_grad():
            cell = known.detach().requires_grad_()
            left, right = self.plan.algebra.views(cell, *self.rules)
        ends, starts, widths = self.chart.carried_spans()
        grad_left = torch.zeros_like(left)
        grad_left[ends, :, carried - widths] = self.grad_lefts[starts, :, widths]
        grad_known = self.grad_values[here].clone()
        incoming = (grad_left, self.grad_rights[here])
        _add_gradients((left, right), [cell, *self.rules], incoming, [grad_known, *self.grad_rules])
        return grad_known


def _add_gradients(outputs: Tensors, sources: list, incoming: Tensors, targets: list) -> None:
    found = torch.autograd.grad(outputs, sources, incoming, allow_unused=True)
    for target, grad in zip(targets, found, strict=True):
        if grad is not None:
            target += grad


def _inputs(
    chart: _Buffers, at: _Slices, first: Tensors, last: Tensors, *, leaf: bool = False
) -> list:
    """The children of one width's cells; as leaves of a graph of their own if asked."""
    keep = (lambda x: x.detach().requires_grad_()) if leaf else (lambda x: x)
    return [
        keep(chart.lefts[at.left]),
        keep(chart.rights[at.right]),
        tuple(keep(tensor[at.starts]) for tensor in first),
        tuple(keep(tensor[at.last]) for tensor in last),
    ]
