"""Reading the sentences of a batch of streams side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from seqstate.core.state import State
from seqstate.states._grammar.carried import Reading, empty, gather, keep, resume
from seqstate.states._grammar.chart import Cells, Words, fill
from seqstate.states._grammar.prefix import Prefixes, begin, endings, read
from seqstate.states._grammar.rules import Rules
from seqstate.states._grammar.segments import Segments


@dataclass(frozen=True)
class Grammar:
    """What a parameterisation gives: probabilities, and log-probabilities of words (-inf for closers)."""

    rules: Rules
    roots: Float[Tensor, " S"]
    empty: Float[Tensor, ""]  # of a sentence without words; roots and this sum to 1
    emission: Float[Tensor, "P V"]


class Sentences:
    """The sentences of a batch: those that were open before go on together, new ones by similar length.

    All boundaries of all readings are numbered in one list, row by row; line 0 is the boundary before any
    sentence, and `where[b, t]` is the line of the boundary after token t of row b.
    """

    def __init__(self, grammar: Grammar, tokens: Int[Tensor, "B T"], state: State, plan: Segments):
        self.grammar, self.tokens, self.state, self.plan = grammar, tokens, state, plan
        self.readings: list[Reading] = []
        self.first_lines = [1]
        self.where = np.zeros(plan.depth.shape, dtype=np.int64)
        carried = plan.carried()
        rows = np.flatnonzero(carried)
        if len(rows):
            self._add(
                self._go_on(rows, carried[rows]), rows, (plan.sentence < 0), self._row_numbers()
            )
        for group in plan.groups():
            self._add(self._open(group), group, plan.sentence >= 0, plan.sentence)

    def outcomes(self) -> tuple[Float[Tensor, "B T P"], Float[Tensor, "B T"]]:
        """After every token: weights of the next preterminal, and P(the sentence is over)."""
        fresh = begin(self.grammar.rules, self.grammar.roots, 1)
        due = [fresh.due[0], *(reading.prefixes.due.flatten(0, 1) for reading in self.readings)]
        end = [self.grammar.empty[None], *(reading.ends.flatten() for reading in self.readings)]
        index = torch.from_numpy(self.where).to(self.tokens.device)
        return torch.cat(due)[index], torch.cat(end)[index]

    def after(self, limit: int) -> State:
        """The state after each row's last token; a sentence of `limit` words is over."""
        real = (self.plan.depth >= 0).sum(1) - 1
        every = np.arange(len(real))
        depth, line = self.plan.depth[every, real], self.where[every, real]
        is_open = (depth > 0) & (depth < limit)
        widest = int(depth[is_open].max(initial=0))
        which = np.searchsorted(self.first_lines, line, side="right") - 1
        states, order = [], []
        for number, reading in enumerate(self.readings):
            rows = np.flatnonzero(is_open & (which == number))
            if len(rows):
                sentence = (line[rows] - self.first_lines[number]) // reading.ends.shape[1]
                states.append(self._keep(reading, sentence, depth[rows], widest))
                order.append(rows)
        rows = np.flatnonzero(~is_open)
        rules = self.grammar.rules
        like = self.grammar.roots
        states.append(empty(len(rows), widest, rules.memory, rules.preterminals, like))
        position = torch.from_numpy(np.argsort(np.concatenate([*order, rows])))
        return gather(states, position)

    def _keep(self, reading: Reading, sentence: NDArray, depth: NDArray, widest: int) -> State:
        at, count = (torch.from_numpy(x).to(self.tokens.device) for x in (sentence, depth))
        return keep(reading, at, count, widest)

    def _row_numbers(self) -> NDArray:
        return np.broadcast_to(np.arange(len(self.tokens))[:, None], self.where.shape)

    def _add(self, reading: Reading, members: NDArray, among: NDArray, number: NDArray) -> None:
        """Note where the tokens of these sentences have their outcomes; `number`: of a token's sentence."""
        base = self.first_lines[-1] + np.arange(len(members)) * reading.ends.shape[1]
        line = np.full(max(len(self.tokens), len(self.plan.row)), -1, dtype=np.int64)
        line[members] = base + reading.start.cpu().numpy()
        here = among & (self.plan.depth > 0)
        here &= line[np.where(here, number, 0)] >= 0
        self.where[here] = line[number[here]] + self.plan.depth[here]
        self.readings.append(reading)
        self.first_lines.append(self.first_lines[-1] + reading.ends.numel())

    def _go_on(self, rows: NDArray, more: NDArray) -> Reading:
        """The sentences that were open before, with the words they got now."""
        index, more = (torch.from_numpy(x).to(self.tokens.device) for x in (rows, more))
        old, count, cells, prefixes = resume(self.state, index)
        new = self.tokens[index, : int(more.max())]
        start = old.shape[1] - count
        position = torch.arange(old.shape[1] + new.shape[1], device=new.device)
        real = (position >= start[:, None]) & (position < (old.shape[1] + more)[:, None])
        return self._read(torch.cat([old, new], 1), real, start, cells, prefixes)

    def _open(self, group: NDArray) -> Reading:
        """Sentences that begin in this batch."""
        device, plan = self.tokens.device, self.plan
        row, start, length = (
            torch.from_numpy(x[group]).to(device) for x in (plan.row, plan.start, plan.length)
        )
        position = torch.arange(int(length.max()), device=device)
        at = (start[:, None] + position).clamp_max(self.tokens.shape[1] - 1)
        real = position < length[:, None]
        prefixes = begin(self.grammar.rules, self.grammar.roots, len(group))
        return self._read(
            self.tokens[row[:, None], at], real, torch.zeros_like(row), None, prefixes
        )

    def _read(
        self,
        words: Int[Tensor, "R N"],
        real: Tensor,
        start: Int[Tensor, " R"],
        cells: Cells | None,
        before: Prefixes,
    ) -> Reading:
        grammar = self.grammar
        # a position that is no word may hold a closing token, whose log-probability is -inf
        log = grammar.emission.T[words.where(real, words[:, :1])].transpose(0, 1)
        chart = fill(grammar.rules.sums(), Words.of(log, real.T), cells)
        prefixes = read(grammar.rules, chart, before)
        ends = endings(grammar.rules, chart, prefixes, grammar.roots, grammar.empty, start)
        return Reading(words, start, chart, prefixes, ends)
