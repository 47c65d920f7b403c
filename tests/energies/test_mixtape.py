"""Mixtape."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow
from torch.nn import functional as F

from energies.common import VOCAB, head, hidden, log_probability_rank


def test_it_is_four_products_mixed_by_a_tree_of_gates():
    scorer, rows = head("mixtape(gate_width=5)"), hidden()
    maps = (
        scorer.facets.weight.view(4, 8, 8).tolist(),
        scorer.gates.weight.view(3, 5, 8).tolist(),
        scorer.gate_scores.weight.tolist(),
        scorer.gate_table.tolist(),
        scorer.gate_bias.tolist(),
    )
    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.mixtape(h, scorer.weight.tolist(), scorer.bias.tolist(), *maps)
        torch.testing.assert_close(given, torch.tensor(wanted, dtype=torch.float64))


def test_gates_that_choose_one_leaf_leave_one_product():
    scorer, rows = head("mixtape"), hidden()
    with torch.no_grad():
        scorer.gate_bias.copy_(torch.tensor([-900.0, 0.0, 900.0]).expand(VOCAB, 3))  # (1 - g1) g3
    third = torch.tanh(F.linear(rows, scorer.facets.weight.view(4, 8, 8)[2]))
    torch.testing.assert_close(scorer(rows), F.linear(third, scorer.weight, scorer.bias))


def test_gates_of_every_word_lift_the_rank():
    scorer = head("mixtape", 40)
    assert log_probability_rank(scorer) == 39
    with torch.no_grad():  # the same for all words: four products with common weights
        scorer.gate_table.zero_()
        scorer.gate_bias.zero_()
    assert log_probability_rank(scorer) == 9


def test_words_without_gate_numbers_are_refused():
    with pytest.raises(ValueError, match="gate_width=0"):
        head("mixtape(gate_width=0)")
