"""Squared distance."""

from __future__ import annotations

import torch
from reference import energies as slow
from torch.nn import functional as F

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_distance():
    scorer, rows, words = pairwise("l2"), hidden(), hidden(6)
    tau = scorer.log_tau.exp().item()
    wanted = scores_by_pairs(lambda h, w: slow.l2(h, w, tau), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_under_a_softmax_it_is_an_inner_product():
    scorer, rows = head("l2"), hidden()
    tau = scorer.energy.log_tau.exp()
    bias = scorer.bias - tau * scorer.weight.square().sum(-1)
    plain = F.linear(2 * tau * rows, scorer.weight, bias)
    torch.testing.assert_close(scorer(rows).log_softmax(-1), plain.log_softmax(-1))


def test_its_rank_under_a_softmax_is_d_plus_one_and_of_the_distances_d_plus_two():
    scorer = head("l2", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9
    distances = scorer.energy(hidden(60), scorer.weight)
    assert torch.linalg.matrix_rank(distances) == 10


def test_the_loss_keeps_its_digits_where_the_distance_is_huge():
    scorer = head("l2").float()
    rows = (hidden() + 3000).float()
    targets = torch.randint(11, (5,))
    exact = F.cross_entropy(scorer.double()(rows.double()), targets, reduction="none")
    scorer.float()
    torch.testing.assert_close(scorer.nll(rows, targets).double(), exact, atol=2e-3, rtol=1e-6)
