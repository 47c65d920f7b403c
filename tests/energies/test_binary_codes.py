"""Binary code prediction."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank
from seqstate.model import build_head


def test_it_is_the_product_of_the_bits_normalised_over_the_words():
    scorer, rows = head("binary_codes(redundancy=3)"), hidden()
    z = scorer.ask(rows)
    for one, given in zip(z.tolist(), scorer(rows), strict=True):
        wanted = slow.binary_codes(one, scorer.codes.tolist(), scorer.bias.tolist())
        wanted = torch.tensor(wanted, dtype=torch.float64)
        torch.testing.assert_close(given.log_softmax(-1), wanted.log_softmax(-1))


def test_where_every_code_is_a_word_the_product_is_normalised_already():
    scorer, rows = head("binary_codes(redundancy=1)", 16), hidden()
    with torch.no_grad():
        scorer.bias.zero_()
    for one, given in zip(scorer.ask(rows).tolist(), scorer(rows), strict=True):
        wanted = slow.binary_codes(one, scorer.codes.tolist(), [0.0] * 16)
        torch.testing.assert_close(given.log_softmax(-1), torch.tensor(wanted).double())


def test_codes_tell_all_words_apart_and_follow_the_frequency():
    scorer = build_head("binary_codes", width=8, vocab_size=37)
    assert scorer.codes.shape == (37, 24)
    unigram = torch.rand(37).log_softmax(-1)
    for _ in range(2):  # dealing again from other frequencies starts from the ranks
        scorer.start_from(torch.rand(37).log_softmax(-1))
    scorer.start_from(unigram)
    order = unigram.argsort(descending=True)
    assert not scorer.codes[order[0], :6].any()  # rank 0
    assert scorer.codes[order[5], :6].tolist() == [True, False, True, False, False, False]
    assert len(scorer.codes.unique(dim=0)) == 37


def test_parities_are_a_linear_code():
    """The code of rank a xor b is the xor of the codes."""
    codes = build_head("binary_codes", width=8, vocab_size=64).codes
    assert torch.equal(codes[23] ^ codes[52], codes[23 ^ 52])


def test_its_rank_is_bound_by_bits_and_width():
    few = head("binary_codes(redundancy=1)", 60)
    assert log_probability_rank(few) == few.rank_bound() == 7
    many = head("binary_codes(redundancy=4)", 60)
    assert log_probability_rank(many) == many.rank_bound() == 9


def test_a_vocabulary_of_one_word():
    scorer = head("binary_codes", 1)
    assert scorer(hidden()).softmax(-1).eq(1).all()


def test_no_bits_are_refused():
    with pytest.raises(ValueError, match="redundancy=0"):
        head("binary_codes(redundancy=0)")
