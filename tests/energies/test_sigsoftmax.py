"""Sigsoftmax."""

from __future__ import annotations

import math

import torch
from reference.energies import dot, sigmoid

from energies.common import head, hidden, log_probability_rank


def test_it_is_exp_times_sigmoid_normalised():
    scorer, rows = head("sigsoftmax"), hidden()
    for h, given in zip(rows.tolist(), scorer(rows).softmax(-1), strict=True):
        z = [
            dot(h, w) + b for w, b in zip(scorer.weight.tolist(), scorer.bias.tolist(), strict=True)
        ]
        mass = [math.exp(x) * sigmoid(x) for x in z]
        wanted = torch.tensor([m / sum(mass) for m in mass], dtype=torch.float64)
        torch.testing.assert_close(given, wanted)


def test_it_passes_the_rank_of_a_softmax():
    assert log_probability_rank(head("sigsoftmax", 40)) == 39


def test_logits_where_the_product_form_is_zero_over_zero_stay_exact():
    scorer = head("sigsoftmax")
    with torch.no_grad():
        scorer.bias.fill_(-1000.0)
        scorer.bias[0] = -999.0
    p = scorer(torch.zeros(1, 8, dtype=torch.float64)).softmax(-1)[0]
    torch.testing.assert_close(p[0] / p[1], torch.tensor(math.e**2).double())


def test_a_skewed_unigram_start_is_exact():
    scorer = head("sigsoftmax", 50)
    unigram = torch.arange(1, 51).double().pow(-3).log().log_softmax(-1)
    scorer.start_from(unigram)
    given = scorer(torch.zeros(1, 8, dtype=torch.float64)).log_softmax(-1)
    torch.testing.assert_close(given[0], unigram, atol=1e-9, rtol=0)
