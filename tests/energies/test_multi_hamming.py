"""Multi-vector Hamming and its three curves."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs

CURVES = {"sigmoid": slow.sigmoid, "clamped": slow.clamped, "rational": slow.rational}


@pytest.mark.parametrize("activation", CURVES)
def test_it_is_the_cost_of_the_misses(activation):
    scorer = pairwise(f"multi_hamming(groups=4, activation={activation!r})")
    rows, words = hidden(), hidden(6)
    scalars = (scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist(), scorer.b.tolist())
    wanted = scores_by_pairs(
        lambda h, w: slow.multi_hamming(h, w, *scalars, CURVES[activation]), rows, words
    )
    torch.testing.assert_close(-scorer(rows, words), wanted)


@pytest.mark.parametrize("activation", CURVES)
def test_blunt_it_is_an_inner_product(activation):
    """a to 0 with tau a = 4: tau sigma(a x) = tau / 2 + x + O(a^2)."""
    scorer = pairwise(f"multi_hamming(groups=4, activation={activation!r})")
    with torch.no_grad():
        scorer.log_a.fill_(-9.0)
        scorer.log_tau.fill_(9.0 + torch.tensor(4.0).log())
        scorer.b.zero_()
    rows, words = hidden(), hidden(6)
    logits = -scorer(rows, words) + scorer.log_tau.exp().sum() / 2
    torch.testing.assert_close(logits, rows @ words.T, atol=2e-3, rtol=0)


def test_saturated_single_numbers_fall_back_to_rank_g_plus_one():
    """K = 1 and hard bits on both sides: the sigmoid of a product of signs is linear in them."""
    scorer = head("multi_hamming(groups=8, a=60.0)", 40)
    with torch.no_grad():
        scorer.weight.copy_(scorer.weight.sign())
        scorer.energy.b.zero_()
        log_p = scorer(hidden(120).sign()).log_softmax(-1)
    centred = log_p - log_p.mean(-1, keepdim=True)
    assert torch.linalg.matrix_rank(centred) <= 9


@pytest.mark.parametrize("activation", CURVES)
def test_features_of_two_numbers_have_full_rank(activation):
    scorer = head(f"multi_hamming(groups=4, activation={activation!r})", 40)
    assert log_probability_rank(scorer, scale=1.0) == 39


def test_a_feature_costs_at_most_its_tau():
    scorer = pairwise("multi_hamming(groups=4)")
    h, w = torch.ones(1, 8).double(), torch.ones(2, 8).double()
    w[1, 2:4] = -1e6
    cost = scorer(h, w)[0, 1] - scorer(h, w)[0, 0]
    assert 0 < cost <= scorer.log_tau.exp()[1]


def test_its_bits_say_which_features_agree():
    scorer, rows, words = pairwise("multi_hamming(groups=4)"), hidden(3), hidden(6)
    bits = scorer.soft_bits(rows, words)["match"]
    assert bits.shape == (3, 6, 4)
    logits = (bits * scorer.log_tau.exp()).sum(-1) - scorer.log_tau.exp().sum()
    torch.testing.assert_close(-scorer(rows, words), logits)


@pytest.mark.parametrize("options", ["groups=3", "groups=0", "activation='relu'"])
def test_what_it_can_not_do_is_refused(options):
    with pytest.raises(ValueError, match=r"try groups=|there are sigmoid, clamped, rational"):
        pairwise(f"multi_hamming({options})")
