"""Cosine with a learnt temperature."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_cosine_times_tau():
    scorer, rows, words = pairwise("cosine"), hidden(), hidden(6)
    tau = scorer.log_tau.exp().item()
    wanted = scores_by_pairs(lambda h, w: slow.cosine(h, w, tau), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted, atol=1e-6, rtol=1e-6)


def test_a_longer_state_is_no_surer():
    scorer = head("cosine")
    rows = hidden()
    torch.testing.assert_close(scorer(rows), scorer(50 * rows), atol=1e-6, rtol=1e-6)


def test_a_state_at_the_origin_has_a_finite_gradient():
    scorer = head("cosine")
    rows = torch.zeros(2, 8, dtype=torch.float64, requires_grad=True)
    scorer(rows)[:, 3].sum().backward()
    assert rows.grad.isfinite().all()
    assert rows.grad.abs().max() > 0


def test_its_rank_is_that_of_an_inner_product():
    scorer = head("cosine", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9
