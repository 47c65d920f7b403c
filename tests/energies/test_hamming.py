"""The continuous Hamming distance."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs

ALL = ("tanh", "exponential", "clipped", "squashed")


def bits(rows, width=8):
    return torch.randint(2, (rows, width)).double()


@pytest.mark.parametrize("distance", ALL)
def test_it_is_the_sum_over_dimensions(distance):
    scorer, rows, words = pairwise(f"hamming(distance={distance!r})"), hidden(), hidden(6)
    tau, a = scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist()
    if distance == "squashed":
        b = scorer.b.tolist()
        wanted = scores_by_pairs(lambda *p: slow.squashed_hamming(*p, tau, a, b), rows, words)
    else:
        wanted = scores_by_pairs(lambda *p: slow.hamming(*p, tau, a, distance), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


@pytest.mark.parametrize("distance", ALL)
def test_sharp_it_counts_the_bits_that_differ(distance):
    scorer, left, right = pairwise(f"hamming(distance={distance!r})"), bits(5), bits(7)
    with torch.no_grad():
        scorer.log_tau.zero_()
        scorer.log_a.fill_(5.0)
        if distance == "squashed":
            scorer.b.fill_(-0.5 * torch.e**5)
    count = (left.unsqueeze(1) != right).sum(-1).double()
    torch.testing.assert_close(scorer(left, right), count, atol=1e-9, rtol=0)


@pytest.mark.parametrize("distance", ALL)
def test_on_bits_it_is_linear_and_its_rank_at_most_d_plus_one(distance):
    scorer = head(f"hamming(distance={distance!r})", 40)
    with torch.no_grad():
        scorer.weight.copy_(bits(40))
        log_p = scorer(bits(120)).log_softmax(-1)
    centred = log_p - log_p.mean(-1, keepdim=True)
    assert torch.linalg.matrix_rank(centred) <= 9


@pytest.mark.parametrize("distance", ALL)
def test_between_bits_its_rank_is_not_bound(distance):
    assert log_probability_rank(head(f"hamming(distance={distance!r})", 40), scale=1.0) == 39


def test_a_distance_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match="there are tanh, exponential"):
        pairwise("hamming(distance='l3')")
