"""Held-out text is chosen by what the text is, and never shares anything with training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.text.chunks import Piece
from seqstate.text.split import choose, sides, survey

TEXTS = st.lists(st.text("abc ", min_size=1, max_size=60), min_size=1, max_size=40)


def pieces(texts, size=7):
    """Documents in pieces of a few characters."""
    for text in texts:
        for at in range(0, len(text), size):
            yield Piece(text[at : at + size], at == 0)


def sorted_out(texts, share=0.1):
    """(training documents, held-out documents, the split)."""
    split = choose(survey(pieces(texts)), share, "it")
    found = ([], [])
    for held, (text, starts, _) in sides(pieces(texts), split):
        if starts:
            found[held].append("")
        found[held][-1] += text
    return *found, split


def many(count=200, seed=0):
    sizes = np.random.default_rng(seed).integers(10, 400, count)
    return [f"{i} " + "x" * size for i, size in enumerate(sizes)]


def test_many_documents_are_held_out_whole_and_near_the_share():
    texts = many()
    train, valid, split = sorted_out(texts)
    assert sorted(train + valid) == sorted(texts)
    assert 0.08 < sum(map(len, valid)) / sum(map(len, texts)) < 0.12
    assert split.train_characters == sum(map(len, train))
    assert split.how == f"{len(valid)} of 200 documents"


def test_copies_of_a_document_are_on_one_side():
    texts = many(30) * 4
    train, valid, _ = sorted_out(texts)
    assert valid and not set(train) & set(valid)


def test_a_document_keeps_its_side_wherever_it_stands():
    _, valid, _ = sorted_out(many())
    _, turned, _ = sorted_out(many()[::-1])
    assert set(valid) == set(turned)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_one_document_is_cut_at_the_exact_character(share):
    text = "".join(chr(97 + i % 26) for i in range(1237))
    train, valid, split = sorted_out([text], share)
    cut = int((1 - share) * len(text))
    assert (train, valid) == ([text[:cut]], [text[cut:]])
    assert "characters" in split.how


def test_a_few_documents_are_cut_as_one_stretch():
    texts = ["a" * 1000, "b" * 1000, "c" * 1000]
    assert sorted_out(texts)[:2] == (["a" * 1000, "b" * 1000, "c" * 700], ["c" * 300])


def test_one_giant_among_many_documents_is_cut_too():
    texts = [*many(20), "y" * 100_000]
    train, valid, _ = sorted_out(texts)
    assert len(train) == 21 and valid == ["y" * len(valid[0])]


@given(texts=TEXTS, share=st.sampled_from([0.1, 0.3, 0.5]))
def test_nothing_is_lost_and_nothing_is_on_both_sides(texts, share):
    texts = [*texts, "z" * 1200]
    train, valid, split = sorted_out(texts, share)
    if split.held is None:
        assert "".join(train + valid) == "".join(texts)
    else:
        assert sorted(train + valid) == sorted(texts)
        assert not set(train) & set(valid)
    assert valid and train


def test_too_little_text_is_refused_with_what_is_needed():
    with pytest.raises(ValueError, match=r"it has 312 characters.* hold out 10%.*1,000 are needed"):
        sorted_out(["x" * 312])
