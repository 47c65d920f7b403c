"""Table PCFG: one free number per rule and word, counted from bracketed trees or trained by gradient.

Where the text is a treebank (`seqstate train trees.ptb`) its trees are counted and name the symbols; in
Python `TablePCFG.from_trees(trees, vocab_size=...)`. Generates word by word like `pcfg`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seqstate.core.model import LearnsTrees
from seqstate.states._grammar.counting import count_trees
from seqstate.states._grammar.dense import Dense
from seqstate.states._grammar.model import GrammarModel, check_symbols
from seqstate.states._grammar.sentences import Grammar
from seqstate.text.brackets import BracketScore, score_brackets
from seqstate.text.trees import (
    Tree,
    binary,
    draw,
    read_tree,
    read_trees,
    unbinary,
    word_ids,
)

__all__ = [
    "BracketScore",
    "TablePCFG",
    "Tree",
    "binary",
    "draw",
    "read_tree",
    "read_trees",
    "score_brackets",
    "unbinary",
    "word_ids",
]


class TablePCFG(GrammarModel, LearnsTrees):
    """nonterminals, preterminals: how many symbols, or their names (a treebank has its own).

    min_count: a chain label such as S+VP seen less often in a treebank is cut. The rest as in `pcfg`.
    """

    decided = ("nonterminals", "preterminals")

    def __init__(
        self,
        *,
        vocab_size: int,
        nonterminals: int | Sequence[str] = 30,
        preterminals: int | Sequence[str] = 60,
        boundary: int = 0,
        ends: tuple[int, ...] = (),
        max_length: int = 40,
        min_count: int = 5,
    ) -> None:
        names = [*_names(nonterminals, "N"), *_names(preterminals, "T")]
        above = len(_names(nonterminals, "N"))
        check_symbols(above, len(names) - above)
        if min_count < 1:
            raise ValueError(f"min_count {min_count}, wanted 1 or more")
        if len(set(names)) < len(names):
            raise ValueError(
                "a name stands for two symbols; tell nonterminals and preterminals apart"
            )
        super().__init__(
            vocab_size=vocab_size,
            names=names,
            preterminals=len(names) - above,
            memory=above,
            boundary=boundary,
            ends=ends,
            max_length=max_length,
        )
        symbols = len(names)
        # equal rows would stay equal for ever: the random start is what tells symbols apart
        self.roots = nn.Parameter(torch.randn(1 + symbols))
        self.rules = nn.Parameter(torch.randn(above, symbols, symbols))
        self.words = nn.Parameter(torch.randn(symbols - above, vocab_size))

    def grammar(self) -> Grammar:
        roots = self.roots.softmax(-1)
        rules = self.rules.flatten(1).softmax(-1).view_as(self.rules)
        return Grammar(Dense(rules), roots[1:], roots[0], self.word_log_softmax(self.words))

    @classmethod
    def from_trees(
        cls,
        trees: Sequence[Tree],
        *,
        vocab_size: int,
        min_count: int = 5,
        boundary: int = 0,
        ends: tuple[int, ...] = (),
        max_length: int = 40,
    ) -> TablePCFG:
        """Count a treebank whose leaves are word ids (see `word_ids`), smoothed (Witten & Bell 1991).

        Trees are made binary first (see `binary`); a chain label such as S+VP seen fewer than `min_count`
        times becomes its topmost part. Raises ValueError without trees, or for leaves that are no word.
        """
        counts = count_trees(trees, vocab_size, {boundary, *ends}, min_count)
        model = cls(
            vocab_size=vocab_size,
            nonterminals=counts.nonterminals,
            preterminals=counts.preterminals,
            boundary=boundary,
            ends=ends,
            max_length=max_length,
            min_count=min_count,
        )
        with torch.no_grad():
            model.roots.copy_(counts.roots.log())
            model.rules.copy_(counts.rules.log())
            model.words.copy_(counts.words.log())
        return model

    def symbols(self) -> dict[str, tuple[str, ...]]:
        above = len(self.names) - self.preterminals
        return {
            "nonterminals": tuple(self.names[:above]),
            "preterminals": tuple(self.names[above:]),
        }


def _names(symbols: int | Sequence[str], letter: str) -> list[str]:
    return [f"{letter}{i}" for i in range(symbols)] if isinstance(symbols, int) else list(symbols)
