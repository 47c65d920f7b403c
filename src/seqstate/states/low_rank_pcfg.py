"""Low-rank PCFG: a grammar with hundreds of symbols, whose rule table is a sum of R products.

P(A -> B C) = sum_r P(r | A) P(B | r, left) P(C | r, right): TN-PCFG (Yang, Zhao & Tu 2021), computed in rank
space (Yang, Liu & Tu 2022). A span costs R x R instead of A x A x A. Otherwise as `pcfg`.
"""

from __future__ import annotations

from torch import nn

from seqstate.states._grammar.low_rank import LowRank
from seqstate.states._grammar.model import GrammarModel, symbol_names
from seqstate.states._grammar.networks import Residual, vectors
from seqstate.states._grammar.sentences import Grammar


class LowRankPCFG(GrammarModel):
    """rank: products R that make up the rule table. The rest as in `pcfg`.

    `parse` gives the best derivation in which every node also chooses its r, which need not be the best
    tree; `distribution(words).most_expected()` is the parser the papers use.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        nonterminals: int = 100,
        preterminals: int = 200,
        rank: int = 64,
        width: int = 128,
        boundary: int = 0,
        ends: tuple[int, ...] = (),
        max_length: int = 40,
    ) -> None:
        super().__init__(
            vocab_size=vocab_size,
            names=symbol_names(nonterminals, preterminals),
            preterminals=preterminals,
            memory=rank,
            boundary=boundary,
            ends=ends,
            max_length=max_length,
        )
        symbols = nonterminals + preterminals
        self.root = vectors(1, width)
        self.parents = vectors(nonterminals, width)
        self.ranks = vectors(rank, width)
        self.tags = vectors(preterminals, width)
        self.to_roots = nn.Sequential(Residual(width), nn.Linear(width, 1 + symbols))
        self.to_ranks = nn.Sequential(Residual(width), nn.Linear(width, rank))
        self.to_left = nn.Sequential(Residual(width), nn.Linear(width, symbols))
        self.to_right = nn.Sequential(Residual(width), nn.Linear(width, symbols))
        self.to_words = nn.Sequential(Residual(width), nn.Linear(width, vocab_size))

    def grammar(self) -> Grammar:
        roots = self.to_roots(self.root)[0].softmax(-1)
        rules = LowRank(
            self.to_ranks(self.parents).softmax(-1),
            self.to_left(self.ranks).softmax(-1),
            self.to_right(self.ranks).softmax(-1),
        )
        return Grammar(rules, roots[1:], roots[0], self.word_log_softmax(self.to_words(self.tags)))
