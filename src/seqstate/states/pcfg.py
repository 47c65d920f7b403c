"""Neural PCFG: the past is the chart of all parses of the open sentence, and it generates word by word.

Every sentence is a sum over trees: root -> S, rules A -> B C, words P -> w. Probabilities of rules come
from symbol vectors through small networks (Kim, Dyer & Rush 2019, "Compound probabilistic context-free
grammars for grammar induction"); the next word's distribution is exact, by prefix probabilities (see
`_grammar/prefix.py`). Trained on raw text it induces a grammar; `distribution(words)` gives parses,
marginals, samples and sampled likelihoods, `parse(words)` the best tree.
"""

from __future__ import annotations

from torch import nn

from seqstate.states._grammar.dense import Dense
from seqstate.states._grammar.model import GrammarModel, symbol_names
from seqstate.states._grammar.networks import Residual, vectors
from seqstate.states._grammar.sentences import Grammar


class PCFG(GrammarModel):
    """nonterminals A, preterminals P: symbols above and at the words. width: of the symbol vectors.

    boundary: the token that opens a document. ends: tokens that close a sentence, too (a newline, a full
    stop). max_length: words after which a sentence counts as over.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        nonterminals: int = 30,
        preterminals: int = 60,
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
        self.to_rules = nn.Linear(width, symbols * symbols)
        self.to_words = nn.Sequential(Residual(width), nn.Linear(width, vocab_size))

    def grammar(self) -> Grammar:
        roots = self.to_roots(self.root)[0].softmax(-1)
        rules = self.to_rules(self.parents).softmax(-1)
        symbols = roots.shape[0] - 1
        return Grammar(
            Dense(rules.unflatten(-1, (symbols, symbols))),
            roots[1:],
            roots[0],
            self.word_log_softmax(self.to_words(self.tags)),
        )
