"""What the tests of energies share: awake parts in float64, and rank as it is measured."""

from __future__ import annotations

import torch
from laws.grid import awake

from seqstate.core import registry
from seqstate.model import build_head

WIDTH, VOCAB = 8, 11


def pairwise(spec, width=WIDTH):
    """An awake pairwise energy in float64."""
    return awake(registry.build("energies", spec, width=width)).double()


def head(spec, vocab_size=VOCAB, width=WIDTH):
    """An awake head in float64."""
    return awake(build_head(spec, width=width, vocab_size=vocab_size)).double()


def hidden(rows=5, width=WIDTH, scale=1.0):
    return scale * torch.randn(rows, width, dtype=torch.float64)


def log_probability_rank(scorer, *, rows=150, scale=3.0):
    """Rank of the matrix of log-probabilities after its rows are centred (float64)."""
    with torch.no_grad():
        log_p = scorer(hidden(rows, scorer.width, scale)).log_softmax(-1)
    return torch.linalg.matrix_rank(log_p - log_p.mean(-1, keepdim=True)).item()


def scores_by_pairs(function, rows, words):
    """Minus the energies, as a slow twin of one pair gives them."""
    table = [[function(h, w) for w in words.tolist()] for h in rows.tolist()]
    return torch.tensor(table, dtype=torch.float64)
