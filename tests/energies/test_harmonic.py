"""The harmonic energy."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_n_times_the_log_distance():
    scorer, rows, words = pairwise("harmonic"), hidden(), hidden(6)
    n = scorer.log_n.exp().item()
    wanted = scores_by_pairs(lambda h, w: slow.harmonic(h, w, n), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted, atol=n * 1e-4, rtol=0)


def test_probabilities_are_inverse_powers_of_the_distance():
    scorer = head("harmonic")
    with torch.no_grad():
        scorer.bias.zero_()
    rows = hidden()
    mass = torch.cdist(rows, scorer.weight) ** -scorer.energy.log_n.exp()
    torch.testing.assert_close(
        scorer(rows).softmax(-1), mass / mass.sum(-1, keepdim=True), atol=1e-3, rtol=0
    )


def test_a_state_on_top_of_a_word_is_sure_of_it_and_still():
    scorer = head("harmonic").float()
    rows = scorer.weight.detach().clone().requires_grad_()
    logits = scorer(rows)
    assert (logits.argmax(-1) == torch.arange(11)).all()
    logits.diagonal().sum().backward()
    assert rows.grad.isfinite().all()


def test_its_rank_is_full():
    assert log_probability_rank(head("harmonic", 40), scale=1.0) == 39
