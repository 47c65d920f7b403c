"""Radial basis functions plus an inner product."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_sum_of_peaks_and_product():
    scorer, rows, words = pairwise("rbf_inner(groups=4)"), hidden(), hidden(6)
    tau, a = scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist()
    alpha = scorer.alpha.item()
    wanted = scores_by_pairs(lambda h, w: slow.rbf(h, w, tau, a, alpha), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_far_from_every_word_the_product_still_pulls():
    rows = hidden() + 30
    gradients = {}
    for name in ("rbf", "rbf_inner"):
        far = rows.clone().requires_grad_()
        head(name)(far)[:, 2].sum().backward()
        gradients[name] = far.grad.abs().max()
    assert gradients["rbf"] < 1e-9
    assert gradients["rbf_inner"] > 1e-2


def test_its_rank_is_full():
    assert log_probability_rank(head("rbf_inner(groups=4)", 40), scale=1.0) == 39
