"""A grammar as a language model: the state is the chart of the open sentence.

Text is a row of sentences. A sentence is closed by the boundary token, by one of `ends`, or by reaching
`max_length` words; then the next begins, and nothing is remembered. Closing tokens are not words of the
grammar: that the sentence is over has the grammar's own probability, P(words) / P(words ...), and which token
says so is drawn from a learnt distribution. A sentence may be empty or a single word.

At `max_length` words the chart is dropped. The probability that the sentence ends there stays the exact one;
the rest of the mass goes to the first word of a new sentence, as its root would choose it. So every
distribution is normalised, and exact below the limit. Costs grow with the third power of the sentence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import IGNORE, LanguageModel, Parses
from seqstate.core.state import State
from seqstate.states._grammar.carried import empty
from seqstate.states._grammar.chart import Words
from seqstate.states._grammar.distribution import TreeDistribution
from seqstate.states._grammar.prefix import begin
from seqstate.states._grammar.segments import segment
from seqstate.states._grammar.sentences import Grammar, Sentences
from seqstate.text.trees import Tree


class GrammarModel(LanguageModel, Parses):
    """What all grammars share once `grammar()` is given. `names`: of the A + P symbols."""

    names: list[str]
    memory: int  # numbers a cell and a word boundary remember

    def __init__(
        self,
        *,
        vocab_size: int,
        names: list[str],
        preterminals: int,
        memory: int,
        boundary: int,
        ends: Sequence[int],
        max_length: int,
    ) -> None:
        super().__init__()
        closing = sorted({boundary, *ends})
        if not 0 <= closing[0] <= closing[-1] < vocab_size:
            raise ValueError(f"closing ids {closing} are not all below vocab_size {vocab_size}")
        if len(closing) == vocab_size:
            raise ValueError(f"all {vocab_size} ids close a sentence; a grammar needs words, too")
        if max_length < 2:
            raise ValueError(f"max_length {max_length}, wanted 2 words or more")
        self.vocab_size, self.max_length, self.names = vocab_size, max_length, names
        self.preterminals, self.memory = preterminals, memory
        self.boundary, self.ends = boundary, tuple(ends)
        self.register_buffer("closing", torch.tensor(closing), persistent=False)
        # with one closing token there is nothing to choose
        self.closer = nn.Parameter(torch.zeros(len(closing))) if len(closing) > 1 else None

    @abstractmethod
    def grammar(self) -> Grammar:
        """The grammar the parameters stand for."""

    def word_log_softmax(self, logits: Float[Tensor, "P V"]) -> Float[Tensor, "P V"]:
        """Log-probabilities of words; closing tokens get none."""
        return logits.index_fill(-1, self.closing, -torch.inf).log_softmax(-1)

    def distribution(
        self, words: Int[Tensor, "B N"], lengths: Int[Tensor, " B"] | None = None
    ) -> TreeDistribution:
        """The trees of sentences (word ids, no closing tokens), as an object with torch-struct's names."""
        grammar = self.grammar()
        terms = grammar.emission.T[words]
        roots = grammar.roots.log()
        return TreeDistribution(
            terms, grammar.rules, roots, lengths, names=self.names, words=words.tolist()
        )

    @torch.no_grad()
    def parse(self, words: Sequence[int]) -> Tree:
        """The best tree of one sentence; leaves are the ids."""
        return self.distribution(torch.tensor([list(words)], device=self.closing.device)).argmax[0]

    def init_state(self, batch_size: int) -> State:
        like = next(self.parameters())
        return empty(batch_size, 0, self.memory, self.preterminals, like)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        with torch.autocast(tokens.device.type, enabled=False):
            grammar = self.grammar()
            due, end, after = self._read(grammar, tokens, state, lengths)
            return self._logits(grammar, due, end), after

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        with torch.autocast(tokens.device.type, enabled=False):
            grammar = self.grammar()
            due, end, after = self._read(grammar, tokens, state, lengths)
            rows = torch.arange(len(tokens), device=tokens.device)
            last = -1 if lengths is None else lengths - 1
            return self._logits(grammar, due[rows, last], end[rows, last]), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        """As LanguageModel.nll, looking up the targets' emissions only: B x T x P, never B x T x V."""
        with torch.autocast(tokens.device.type, enabled=False):
            grammar = self.grammar()
            due, end, after = self._read(grammar, tokens, state, None)
            asked = targets != IGNORE
            wanted = targets.where(asked, self.boundary)
            closers = self._closers(grammar)
            words = Words.of(grammar.emission.T[wanted])
            is_word = words.scale.isfinite()
            mass = torch.where(is_word, (due * words.emission).sum(-1), end * closers[wanted])
            # the weights sum to 1, but up to a constant to the gradient: that of the prefix is in the sum
            total = due.sum(-1) + end
            log = _log(mass) - total.where(total > 0, 1.0).log()
            log = log + words.scale.where(is_word, 0.0).to(mass.dtype)
            return -log * asked, after

    def _logits(
        self, grammar: Grammar, due: Float[Tensor, "*B P"], end: Float[Tensor, "*B"]
    ) -> Float[Tensor, "*B V"]:
        return _log(due @ grammar.emission.exp() + end.unsqueeze(-1) * self._closers(grammar))

    def _closers(self, grammar: Grammar) -> Float[Tensor, " V"]:
        """P(token | the sentence is over)."""
        chosen = grammar.empty.new_ones(1) if self.closer is None else self.closer.softmax(0)
        return chosen.new_zeros(self.vocab_size).index_copy(0, self.closing, chosen)

    def _read(
        self, grammar: Grammar, tokens: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Float[Tensor, "B T P"], Float[Tensor, "B T"], State]:
        """After every token: weights of the next preterminal, P(the sentence is over); and the state."""
        state = self.init_state(len(tokens)) if state is None else state
        closers = torch.zeros(self.vocab_size, dtype=torch.bool)
        closers[self.closing.cpu()] = True
        plan = segment(
            tokens.cpu().numpy(),
            state["count"].cpu().numpy(),
            np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths.cpu().numpy(),
            closers.numpy(),
            self.max_length,
        )
        sentences = Sentences(grammar, tokens, state, plan)
        due, end = sentences.outcomes()
        limit = torch.from_numpy(plan.depth == self.max_length).to(tokens.device)
        anew = begin(grammar.rules, grammar.roots, 1).due[0, 0]
        anew = due.sum(-1, keepdim=True) * (anew / anew.sum())
        due = torch.where(limit.unsqueeze(-1), anew, due)
        return due, end, sentences.after(self.max_length)


def _log(mass: Tensor) -> Tensor:
    return mass.clamp_min(torch.finfo(mass.dtype).tiny).log()


def symbol_names(nonterminals: int, preterminals: int) -> list[str]:
    """Names of induced symbols: N0, N1, ... and T0, T1, ..."""
    check_symbols(nonterminals, preterminals)
    return [f"N{i}" for i in range(nonterminals)] + [f"T{i}" for i in range(preterminals)]


def check_symbols(nonterminals: int, preterminals: int) -> None:
    """Raise ValueError unless there is a symbol of each kind."""
    if nonterminals < 1 or preterminals < 1:
        raise ValueError(
            f"{nonterminals} nonterminals and {preterminals} preterminals, wanted 1 or more of each"
        )
