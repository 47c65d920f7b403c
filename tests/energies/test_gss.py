"""Generalised sigsoftmax."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank


@pytest.mark.parametrize(("c", "k"), [(-1.5, 2.5), (0.5, 0.25)])
def test_it_is_the_papers_own_form(c, k):
    scorer, rows = head(f"gss(c={c}, k={k})"), hidden()
    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.bent(h, scorer.weight.tolist(), scorer.bias.tolist(), slow.gss(c, k))
        torch.testing.assert_close(given, torch.tensor(wanted, dtype=torch.float64))


def test_two_members_of_the_family_are_softmax_and_sigsoftmax():
    rows, sig = hidden(), head("sigsoftmax")
    bent, flat = head("gss(c=0.0, k=2.0)"), head("gss(k=1.0)")
    bent.load_state_dict(sig.state_dict())
    flat.load_state_dict(sig.state_dict())
    torch.testing.assert_close(bent(rows), sig(rows))
    plain = torch.nn.functional.linear(rows, sig.weight, sig.bias)
    torch.testing.assert_close(flat(rows), plain)


def test_the_bend_is_what_raises_the_rank():
    flat, curved = head("gss(k=1.0)", 40), head("gss", 40)
    assert log_probability_rank(flat) == flat.rank_bound() == 9
    assert log_probability_rank(curved) == 39


def test_a_falling_slope_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        head("gss(k=-1.0)")
