"""Products of experts."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_logarithm_of_the_product():
    scorer, rows, words = pairwise("product_of_experts(groups=4)"), hidden(), hidden(6)
    scalars = (scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist(), scorer.b.tolist())
    wanted = scores_by_pairs(lambda h, w: slow.product_of_experts(h, w, *scalars), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_one_expert_vetoes_without_limit_where_multi_hamming_caps_the_cost():
    product, capped = pairwise("product_of_experts(groups=4)"), pairwise("multi_hamming(groups=4)")
    h, w = torch.ones(1, 8).double(), torch.ones(1, 8).double()
    w[0, 2:4] = -1000.0
    cap = capped.log_tau.exp().sum()
    assert capped(h, w) <= cap
    assert product(h, w) > 100 * cap


def test_its_rank_is_full():
    assert log_probability_rank(head("product_of_experts(groups=4)", 40), scale=1.0) == 39
