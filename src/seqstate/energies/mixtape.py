"""Mixtape: four products mixed by gates of every word, before one softmax. Rank not limited.

logit_v = sum_k pi_k(h, v) <tanh(H_k h), w_v> + bias_v.

K = 4 products are mixed before the softmax, with gates that differ from word to word, so the rank is not
limited by D although there is only one normaliser. The gates are leaves of a tree of three sigmoids,
pi = (g1 g2, g1 (1 - g2), (1 - g1) g3, (1 - g1) (1 - g3)),
g_j = sigmoid(<v_v, tanh(U_j h)> + <u_j, h> + b_vj).
The authors' third saving, gates shared by rare words, is left out: every word has its own.
Source: Yang, Luong, Salakhutdinov & Le 2019, "Mixtape: breaking the softmax bottleneck efficiently", NeurIPS.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.energy import tiled_nll
from seqstate.energies._words import WordHead, linear

FACETS, GATES = 4, 3
ALIVE = 2 * (FACETS + GATES)  # tensors of rows x words that one tile keeps for its backward pass


class Mixtape(WordHead):
    """gate_width: numbers of a word's own gate vector v."""

    def __init__(self, *, width: int = 128, vocab_size: int, gate_width: int = 16) -> None:
        super().__init__(width, vocab_size)
        if gate_width < 1:
            raise ValueError(f"gate_width={gate_width}, but a gate vector needs at least 1 number")
        self.gate_width = gate_width
        self.facets = linear(width, FACETS * width)  # H
        self.gates = linear(width, GATES * gate_width)  # U
        self.gate_scores = linear(width, GATES)  # u
        self.gate_table = nn.Parameter(torch.empty(vocab_size, gate_width))  # v
        self.gate_bias = nn.Parameter(torch.zeros(vocab_size, GATES))  # b
        nn.init.normal_(self.gate_table, std=1 / math.sqrt(gate_width))

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        facets = torch.tanh(self.facets(hidden)).unflatten(-1, (FACETS, -1))
        gates = torch.tanh(self.gates(hidden)).unflatten(-1, (GATES, -1))
        scores = self.gate_scores(hidden)
        z = [F.linear(facets[..., k, :], self.weight) for k in range(FACETS)]
        g = [
            torch.sigmoid(
                F.linear(gates[..., j, :], self.gate_table, self.gate_bias[:, j])
                + scores[..., j : j + 1]
            )
            for j in range(GATES)
        ]
        left, right = torch.lerp(z[1], z[0], g[1]), torch.lerp(z[3], z[2], g[2])
        return torch.lerp(right, left, g[0]) + self.bias

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        return tiled_nll(self, hidden, targets, ALIVE * self.vocab_size)
