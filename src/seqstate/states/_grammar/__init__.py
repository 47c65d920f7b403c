"""Context-free grammars in binary form: charts, prefix probabilities, trees. Private to the PCFG states.

Letters: B batch, N words, E = N + 1 word boundaries, V vocabulary, A nonterminals, P preterminals,
S = A + P symbols, R rank, X numbers a cell holds, L splits. A symbol's id is below A for a nonterminal and
A + p for the preterminal p.
"""
