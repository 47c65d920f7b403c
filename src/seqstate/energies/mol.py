"""Mixture of logits: cosines of Q x X short vectors, mixed by gates of both sides.

logit_v = tau sum_p pi_p(h, v) <f_q(h), g_x(w_v)> + bias_v over all pairs p = (q, x).

The state is read as Q short vectors f_q(h) = P_q h and a word as X pieces g_x of its own D numbers, all of
length 1; the Q X cosines are mixed by gates that depend on both sides,
pi(h, v) = softmax_p(silu(A h * B w_v)), so the rank is not limited by D. Left out of the authors' form: the
gate's third term, a network over the cosines of each pair, and dropout of gates.
Source: Zhai et al. 2023, https://arxiv.org/abs/2306.04039; Ding & Zhai 2025 ("RAILS"),
https://arxiv.org/abs/2407.15462 (temperature 0.05 there; here
tau = 1 / temperature is learnt, from a start that leaves the unigrams in place).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.energy import tiled_nll
from seqstate.energies._words import WordHead, linear

SOFT = 1e-8
ALIVE = 5  # tensors of rows x words that one pair keeps for its backward pass


class MoL(WordHead):
    """query_groups: Q. word_groups: X (must divide the width). tau: start of the learnt scale."""

    def __init__(
        self,
        *,
        width: int = 128,
        vocab_size: int,
        query_groups: int = 2,
        word_groups: int = 4,
        tau: float = 5.0,
    ) -> None:
        super().__init__(width, vocab_size)
        if query_groups < 1 or word_groups < 1 or width % word_groups:
            raise ValueError(
                f"query_groups={query_groups}, word_groups={word_groups} with width {width}: groups must "
                f"be positive and word_groups divide the width; try {math.gcd(width, word_groups or 1)}"
            )
        self.query_groups, self.word_groups = query_groups, word_groups
        self.pairs = query_groups * word_groups
        self.facets = linear(width, query_groups * (width // word_groups))
        self.query_gate = linear(width, self.pairs, bias=True)
        self.word_gate = linear(width, self.pairs, bias=True)
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return self._logits(hidden, self._word_side())

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        words = self._word_side()
        return tiled_nll(
            lambda rows: self._logits(rows, words),
            hidden,
            targets,
            ALIVE * self.pairs * self.vocab_size,
        )

    def _word_side(self) -> tuple[Tensor, Tensor]:
        """Pieces [X, V, D / X] of length 1 and gates [V, P] of all words."""
        pieces = self.weight.unflatten(-1, (self.word_groups, -1)).transpose(0, 1)
        return _unit(pieces), self.word_gate(self.weight)

    def _logits(self, hidden: Tensor, words: tuple[Tensor, Tensor]) -> Tensor:
        pieces, word_gate = words
        facets = _unit(self.facets(hidden).unflatten(-1, (self.query_groups, -1)))
        query_gate = self.query_gate(hidden)

        def gates() -> Iterator[Tensor]:  # one pair at a time, never all P of them
            for p in range(self.pairs):
                yield F.silu(query_gate[..., p : p + 1] * word_gate[:, p])

        with torch.no_grad():
            highest = None
            for gate in gates():
                highest = gate if highest is None else torch.maximum(highest, gate)
        mass, mixed = 0.0, 0.0
        for p, gate in enumerate(gates()):
            q, x = divmod(p, self.word_groups)
            share = (gate - highest).exp()
            mass = mass + share
            mixed = mixed + share * F.linear(facets[..., q, :], pieces[x])
        return self.log_tau.exp() * mixed / mass + self.bias


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + SOFT)
