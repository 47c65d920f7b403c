"""Prefix probabilities of a grammar, word by word, from a filled chart.

A symbol is *due* at a word boundary if some derivation has produced exactly the words before it and that
symbol is next, everything after it still open. With d_k the expected weight of due symbols at boundary k and
p_k of *predicted* nonterminals (due, or the first child of a predicted one),

    d_k(C) = sum_{i<k} sum_{A,B} p_i(A) P(A -> B C) inside(B, i, k)          p_k = d_k (I - L)^-1

where L(A, B) = sum_C P(A -> B C) is the left-corner matrix. The weight of a due preterminal times its
emission is the probability of the prefix one word longer, for all words of the vocabulary at once:

    P(w_1 .. w_k w ...) = sum_P (d_k(P) + sum_A p_k(A) L(A, P)) P(P -> w)

and what is missing to P(w_1 .. w_k ...) is the probability that the sentence ends here. The closure is that
of Jelinek & Lafferty 1991 ("Computation of the probability of initial substring generation by stochastic
context-free grammars"), the recursion Earley's forward probability (Stolcke 1995) for binary rules.

Everything is divided by the probability of its prefix, so nothing underflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.chart import Chart
from seqstate.states._grammar.rules import Rules


@dataclass(frozen=True)
class Prefixes:
    """What is known at each of K boundaries, relative to the probability of the prefix before it."""

    memory: Float[Tensor, "B K H"]
    log: Float[Tensor, "B K"]  # log-probability of the prefix, float64, a constant to the gradient
    due: Float[Tensor, "B K P"]  # expected weight of the next preterminal; sums to 1 - P(end)


def begin(rules: Rules, roots: Float[Tensor, " S"], rows: int) -> Prefixes:
    """Before the first word."""
    memory, due = rules.start(roots)
    log = torch.zeros(rows, 1, dtype=torch.float64, device=roots.device)
    return Prefixes(memory.expand(rows, 1, -1), log, due.expand(rows, 1, -1))


def read(rules: Rules, chart: Chart, before: Prefixes) -> Prefixes:
    """Go on from the boundaries in `before` (at least one) to the end of the chart."""
    known, words = before.log.shape[1], chart.words.scale.shape[0]
    memories = list(before.memory.unbind(1))
    logs = list(before.log.unbind(1))
    dues = list(before.due.unbind(1))
    for end in range(known, words + 1):
        log = logs[-1] + _word_log(chart, end - 1, dues[-1])
        cells, scale = chart.cells.values[end], chart.cells.scale[end]
        weigh = torch.stack(logs, 1) + scale[:, words - end :]
        top = weigh.amax(-1).clamp_min(torch.finfo(weigh.dtype).min / 4)
        memory, due = rules.advance(
            torch.stack(memories, 1),
            (weigh - top.unsqueeze(-1)).exp().to(cells.dtype),
            cells[:, words - end : words - 1],
            tuple(tensor[end - 1] for tensor in chart.first),
        )
        # an impossible prefix has no weight anywhere; the bound only keeps 0 x inf out of its gradient
        rescale = (top - log).clamp_max(80.0).exp().to(cells.dtype).unsqueeze(-1)
        memories.append(memory * rescale)
        dues.append(due * rescale)
        logs.append(log)
    return Prefixes(torch.stack(memories, 1), torch.stack(logs, 1), torch.stack(dues, 1))


def _word_log(chart: Chart, at: int, due: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
    """log P(word | prefix); 0 where there is no word or an impossible one."""
    got = (due.detach() * chart.words.emission[at].detach()).sum(-1).double()
    log = got.log() + chart.words.scale[at]
    return torch.where(log.isfinite(), log, 0.0)


def endings(
    rules: Rules,
    chart: Chart,
    prefixes: Prefixes,
    roots: Float[Tensor, " S"],
    empty: Float[Tensor, ""],
    start: Int[Tensor, " B"],
) -> Float[Tensor, "B K"]:
    """P(the sentence ends here | prefix) at every boundary; row b's opened at boundary `start[b]`."""
    a, words = rules.nonterminals, chart.words.scale.shape[0]
    boundaries = torch.arange(words + 1, device=start.device)
    width = boundaries - start[:, None]  # B K
    rows = torch.arange(len(start), device=start.device)[:, None]
    slot = (words - width).clamp(0, words - 1)
    values, scale = (
        chart.cells.values[boundaries, rows, slot],
        chart.cells.scale[boundaries, rows, slot],
    )
    longer = rules.total(values, roots[:a])
    before = (boundaries - 1).clamp_min(0)
    single = (chart.words.emission[before, rows] * roots[a:]).sum(-1)
    mass = torch.where(width == 1, single, longer)
    # at the very start the chart knows nothing: the empty sentence has its own probability
    rescale = (scale - prefixes.log).clamp_max(80.0).exp().to(mass.dtype)
    return torch.where(width > 0, mass * rescale, empty * (width == 0))
