"""Radial basis functions."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_sum_of_the_peaks():
    scorer, rows, words = pairwise("rbf(groups=4)"), hidden(), hidden(6)
    tau, a = scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist()
    wanted = scores_by_pairs(lambda h, w: slow.rbf(h, w, tau, a), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_the_peak_is_at_the_word_and_worth_tau():
    scorer, words = pairwise("rbf(groups=4)"), hidden(6)
    energies = scorer(words, words)
    torch.testing.assert_close(energies.diagonal(), -scorer.log_tau.exp().sum().expand(6))
    assert (energies.argmin(-1) == torch.arange(6)).all()


def test_wide_peaks_are_squared_distances():
    """a to 0 with tau a fixed: tau exp(-a x) = tau - tau a x + O(a)."""
    scorer, rows, words = pairwise("rbf(groups=4)"), hidden(), hidden(6)
    with torch.no_grad():
        scorer.log_a.fill_(-12.0)
        scorer.log_tau.fill_(12.0)
    energies = scorer(rows, words) + scorer.log_tau.exp().sum()
    torch.testing.assert_close(energies, torch.cdist(rows, words).square(), atol=1e-2, rtol=0)


def test_its_rank_is_full():
    assert log_probability_rank(head("rbf(groups=4)", 40), scale=1.0) == 39
