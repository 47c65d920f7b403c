"""The learnt piecewise linear function."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank
from seqstate.model import build_head


def test_it_is_the_function_walked_piece_by_piece():
    scorer, rows = head("plif(pieces=7, limit=2.0)"), hidden(scale=2.0)
    slopes = torch.nn.functional.softplus(scorer.slope).tolist()
    bend = slow.plif(slopes, 2.0)
    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.bent(h, scorer.weight.tolist(), scorer.bias.tolist(), bend)
        torch.testing.assert_close(given, torch.tensor(wanted, dtype=torch.float64))


def test_it_starts_as_a_softmax():
    scorer = build_head("plif", width=8, vocab_size=11)
    rows = hidden().float()
    plain = torch.nn.functional.linear(rows, scorer.weight, scorer.bias)
    torch.testing.assert_close(scorer(rows), plain, atol=1e-5, rtol=1e-5)


def test_it_rises_everywhere_and_has_no_jumps():
    scorer = head("plif(pieces=9, limit=3.0)")
    z = torch.linspace(-5, 5, 4001, dtype=torch.float64)
    rise = scorer.bend(z).diff()
    assert rise.min() > 0
    assert rise.max() < 0.0025 * 1.01 * torch.nn.functional.softplus(scorer.slope).max()


def test_slopes_are_learnt_where_logits_fall():
    scorer = head("plif(pieces=4, limit=2.0)")
    scorer.bend(torch.tensor([0.5], dtype=torch.float64)).sum().backward()
    assert scorer.slope.grad[2] > 0  # its own piece
    assert scorer.slope.grad[3] == 0  # a piece above does not matter


def test_its_knots_raise_the_rank():
    assert log_probability_rank(head("plif(limit=5.0)", 40)) == 39


def test_no_pieces_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        head("plif(pieces=0)")
