"""Soft bits read from a few stored numbers."""

from __future__ import annotations

import pytest
import torch
from laws.grid import awake
from reference import energies as slow
from torch.nn import functional as F

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs
from seqstate.model import build_head, build_model

FORMS = ("word", "both", "residual")


@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_product_with_the_bits(form):
    scorer, rows, words = pairwise(f"soft_bits(bits=13, form={form!r})"), hidden(), hidden(6)
    maps = (scorer.read.weight.tolist(), scorer.read.bias.tolist(), scorer.ask.weight.tolist())
    tau = scorer.log_tau.exp().tolist() if form == "both" else None
    alpha = scorer.alpha.item() if form == "residual" else 0.0
    wanted = scores_by_pairs(lambda h, w: slow.soft_bits(h, w, *maps, tau, alpha), rows, words)
    torch.testing.assert_close(-scorer(rows, words), wanted)


def test_words_may_store_fewer_numbers_than_the_state_has():
    scorer = awake(build_head("soft_bits(bits=13, store=3)", width=8, vocab_size=40)).double()
    assert scorer.weight.shape == (40, 3)
    rows, targets = hidden(), torch.randint(40, (5,))
    wanted = F.cross_entropy(scorer(rows), targets, reduction="none")
    torch.testing.assert_close(scorer.nll(rows, targets).double(), wanted, atol=1e-5, rtol=1e-5)
    assert (
        log_probability_rank(scorer) == scorer.rank_bound() == 9
    )  # not 4: the state's, not the word's


def test_squashed_on_both_sides_the_rank_is_bound_by_the_bits_only():
    scorer = head("soft_bits(bits=13, form='both')", 40)
    assert log_probability_rank(scorer, scale=1.0) == scorer.rank_bound() == 14


@pytest.mark.parametrize("form", ["word", "residual"])
def test_with_a_linear_state_the_rank_is_that_of_an_inner_product(form):
    scorer = head(f"soft_bits(bits=13, form={form!r})", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9


def test_it_starts_where_the_prototype_did():
    scorer = build_head("soft_bits(bits=64, store=16)", width=128, vocab_size=4000)
    assert abs(scorer.weight.std() - 0.06) < 0.002
    assert abs((scorer.weight @ scorer.energy.read.weight.T).std() - 0.5) < 0.05
    assert abs(scorer.energy.read.bias.std() - 1) < 0.3


def test_on_hard_bits_both_sides_count_mismatches():
    """L1 between codes of +-1 is twice the mismatches, and the product is G minus twice the mismatches."""
    scorer = pairwise("soft_bits(bits=13, form='both')")
    with torch.no_grad():
        scorer.log_tau.zero_()
        for weight in (scorer.read.weight, scorer.ask.weight):
            weight.mul_(1e4)
    rows, words = hidden(), hidden(6)
    bits = scorer.soft_bits(rows, words)
    mismatches = (bits["query"].round().unsqueeze(1) != bits["word"].round()).sum(-1)
    torch.testing.assert_close(
        -scorer(rows, words), 13.0 - 2.0 * mismatches.double(), atol=1e-2, rtol=0
    )


def test_a_table_of_another_width_is_not_tied():
    with pytest.raises(ValueError, match="untie"):
        build_model("lstm(width=16)", "soft_bits(store=4)", vocab_size=11, tie=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("form='words'", "there are word"),
        ("form='residual', store=3", "use store=0"),
        ("bits=0", "positive"),
    ],
)
def test_what_it_can_not_do_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        pairwise(f"soft_bits({options})")
