"""The soft minimum between the mean and the lowest."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_logarithm_of_the_mean_exponential():
    scorer, rows, words = pairwise("soft_minimum(groups=4)"), hidden(), hidden(6)
    a, b = scorer.log_a.exp().tolist(), scorer.b.tolist()
    wanted = scores_by_pairs(lambda h, w: slow.soft_minimum(h, w, a, b, 1.0), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_cold_it_is_the_hard_minimum():
    soft, hard = pairwise("soft_minimum(groups=4)"), pairwise("minimum(groups=4)")
    hard.load_state_dict({k: v for k, v in soft.state_dict().items() if k != "temperature"})
    soft.temperature.fill_(1e-3)
    rows, words = hidden(), hidden(6)
    gap = soft(rows, words) - hard(rows, words)
    assert gap.abs().max() <= 1e-3 * 1.3863  # t ln G


def test_hot_it_is_the_mean_of_the_features_and_so_an_inner_product():
    scorer, rows, words = pairwise("soft_minimum(groups=4)"), hidden(), hidden(6)
    scorer.temperature.fill_(1e7)
    scale = scorer.log_a.exp().repeat_interleave(2) / 4
    plain = (rows * scale) @ words.T + scorer.b.mean()
    torch.testing.assert_close(-scorer(rows, words), plain, atol=1e-4, rtol=0)


def test_every_feature_learns():
    scorer = pairwise("soft_minimum(groups=4)")
    words = hidden(1).requires_grad_()
    scorer(hidden(1), words).sum().backward()
    assert (words.grad != 0).all()


def test_its_rank_is_full():
    assert log_probability_rank(head("soft_minimum(groups=4)", 40), scale=1.0) == 39


def test_the_temperature_is_kept_with_the_weights():
    scorer, other = pairwise("soft_minimum"), pairwise("soft_minimum")
    scorer.temperature.fill_(0.25)
    other.load_state_dict(scorer.state_dict())
    assert other.temperature.item() == 0.25


def test_no_temperature_is_refused():
    with pytest.raises(ValueError, match="use `minimum` at 0"):
        pairwise("soft_minimum(temperature=0.0)")
