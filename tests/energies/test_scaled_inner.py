"""Inner product under a learnt scale."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs
from seqstate.energies.scaled_inner import ScaledInner


def test_it_is_the_inner_product_times_its_scale():
    scorer, rows, words = pairwise("scaled_inner"), hidden(), hidden(6)
    scale = scorer.log_scale.exp().item()
    wanted = scores_by_pairs(lambda h, w: slow.inner(h, w, scale), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted, atol=1e-6, rtol=1e-6)


def test_the_scale_is_learnt_through_the_fused_loss():
    scorer, rows = head("scaled_inner", 40), hidden()
    scorer.loss(rows, torch.arange(len(rows))).backward()
    found = scorer.energy.log_scale.grad
    scorer.zero_grad()
    logits = scorer(rows)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(rows))).backward()
    torch.testing.assert_close(found, scorer.energy.log_scale.grad)
    assert found.abs() > 1e-3


def test_its_rank_is_that_of_an_inner_product():
    scorer = head("scaled_inner", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9


def test_it_replaces_a_layer_without_any_error():
    layer = torch.nn.Linear(16, 50)
    assert ScaledInner.replacing(layer).start_error < 1e-5


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        ScaledInner(width=8, scale=0.0)
