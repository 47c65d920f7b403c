"""The worst feature decides."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_lowest_feature():
    scorer, rows, words = pairwise("minimum(groups=4)"), hidden(), hidden(6)
    a, b = scorer.log_a.exp().tolist(), scorer.b.tolist()
    wanted = scores_by_pairs(lambda h, w: slow.minimum(h, w, a, b), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_a_miss_can_not_be_bought_back():
    scorer = pairwise("minimum(groups=4)")
    with torch.no_grad():
        scorer.b.zero_()
    h = torch.ones(1, 8, dtype=torch.float64)
    w = torch.ones(2, 8, dtype=torch.float64)
    w[:, 2:4] = -1.0  # both miss in feature 1
    w[1, [0, 1, 4, 5, 6, 7]] = 100.0  # and one agrees loudly in all others
    assert torch.equal(scorer(h, w)[0, 0], scorer(h, w)[0, 1])


def test_only_the_deciding_feature_learns():
    scorer = pairwise("minimum(groups=4)")
    h, w = hidden(1), hidden(1).requires_grad_()
    scorer(h, w).sum().backward()
    assert (w.grad.view(4, 2) != 0).any(-1).sum() == 1


def test_its_rank_is_full_and_of_one_group_bound():
    assert log_probability_rank(head("minimum(groups=4)", 40)) == 39
    single = head("minimum(groups=1)", 40)
    assert log_probability_rank(single) == single.rank_bound() == 9
