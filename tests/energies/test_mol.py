"""The mixture of logits."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank


def row(layer):
    return lambda x: layer(torch.tensor(x, dtype=torch.float64)).tolist()


def test_it_is_the_gated_mean_of_the_cosines():
    scorer, rows = head("mol(query_groups=3, word_groups=2)"), hidden()
    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.mol(
            h,
            scorer.weight.tolist(),
            scorer.bias.tolist(),
            scorer.facets.weight.view(3, 4, 8).tolist(),
            row(scorer.query_gate),
            row(scorer.word_gate),
            scorer.log_tau.exp().item(),
            2,
        )
        torch.testing.assert_close(
            given, torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=1e-6
        )


def test_logits_lie_within_tau():
    scorer = head("mol")
    with torch.no_grad():
        scorer.bias.zero_()
    assert scorer(100 * hidden()).abs().max() <= scorer.log_tau.exp()


def test_gates_on_both_sides_lift_the_rank():
    scorer = head("mol(query_groups=2, word_groups=2)", 40)
    assert log_probability_rank(scorer, scale=1.0) == 39
    with torch.no_grad():  # gates of the state alone: one short product a piece
        scorer.word_gate.weight.zero_()
    assert log_probability_rank(scorer, scale=1.0) <= 9


def test_groups_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="divide the width"):
        head("mol(word_groups=3)")
