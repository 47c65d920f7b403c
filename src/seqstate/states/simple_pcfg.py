"""Simple PCFG: a grammar whose two children are independent given their parent; hundreds of symbols.

P(A -> B C) = P(B | A, left) P(C | A, right): SimplePCFG (Liu, Yang & Tu 2023, "Simple hardware-efficient
PCFGs with independent left and right productions"). A span costs A x A. Otherwise as `pcfg`.
"""

from __future__ import annotations

import torch
from torch import nn

from seqstate.states._grammar.low_rank import LowRank
from seqstate.states._grammar.model import GrammarModel, symbol_names
from seqstate.states._grammar.networks import Residual, vectors
from seqstate.states._grammar.sentences import Grammar


class SimplePCFG(GrammarModel):
    """Options as in `pcfg`."""

    def __init__(
        self,
        *,
        vocab_size: int,
        nonterminals: int = 128,
        preterminals: int = 256,
        width: int = 128,
        boundary: int = 0,
        ends: tuple[int, ...] = (),
        max_length: int = 40,
    ) -> None:
        super().__init__(
            vocab_size=vocab_size,
            names=symbol_names(nonterminals, preterminals),
            preterminals=preterminals,
            memory=nonterminals,
            boundary=boundary,
            ends=ends,
            max_length=max_length,
        )
        symbols = nonterminals + preterminals
        self.root = vectors(1, width)
        self.parents = vectors(nonterminals, width)
        self.tags = vectors(preterminals, width)
        self.to_roots = nn.Sequential(Residual(width), nn.Linear(width, 1 + symbols))
        self.to_left = nn.Sequential(Residual(width), nn.Linear(width, symbols))
        self.to_right = nn.Sequential(Residual(width), nn.Linear(width, symbols))
        self.to_words = nn.Sequential(Residual(width), nn.Linear(width, vocab_size))

    def grammar(self) -> Grammar:
        roots = self.to_roots(self.root)[0].softmax(-1)
        left, right = (
            self.to_left(self.parents).softmax(-1),
            self.to_right(self.parents).softmax(-1),
        )
        itself = torch.eye(len(self.parents), dtype=left.dtype, device=left.device)
        return Grammar(
            LowRank(itself, left, right),
            roots[1:],
            roots[0],
            self.word_log_softmax(self.to_words(self.tags)),
        )
