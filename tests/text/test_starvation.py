"""The share of n-grams never seen equals counting them with sets."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.text import starvation as module
from seqstate.text.starvation import starvation

BOUNDARY = 0


def corpus(train, valid):
    return SimpleNamespace(
        train=np.array(train, np.uint16),
        valid=np.array(valid, np.uint16),
        tokenizer=SimpleNamespace(boundary=BOUNDARY),
    )


def grams(ids, n):
    every = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return [gram for gram in every if BOUNDARY not in gram]


def slow(train, valid, orders):
    shares = {}
    for n in orders:
        seen, asked = set(grams(train, n)), grams(valid, n)
        if asked:
            shares[n] = sum(gram not in seen for gram in asked) / len(asked)
    return shares


IDS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@pytest.mark.parametrize("block", [3, 1000])
@given(train=IDS, valid=IDS)
def test_it_equals_counting_with_sets_whatever_the_block(block, train, valid):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = starvation(corpus(train, valid), range(1, 5))
    expected = slow(train, valid, range(1, 5))
    assert found == pytest.approx(expected)


def test_it_equals_counting_on_a_longer_text_and_starves_as_n_grows():
    generator = np.random.default_rng(0)
    train, valid = (
        np.minimum(generator.geometric(0.2, size), 50).tolist() for size in (30_000, 3_000)
    )
    found = starvation(corpus(train, valid))
    assert found == pytest.approx(slow(train, valid, range(1, 8)))
    assert list(found.values()) == sorted(found.values())
    assert found[1] < 0.01 and found[7] > 0.9


def test_a_long_held_out_text_is_judged_by_stretches_of_it(monkeypatch):
    generator = np.random.default_rng(0)
    train, valid = generator.integers(1, 30, 20_000), generator.integers(1, 30, 40_000)
    whole = starvation(corpus(train, valid), [3])
    monkeypatch.setattr(module, "STRETCHES", 8)
    monkeypatch.setattr(module, "STRETCH", 1000)
    assert starvation(corpus(train, valid), [3])[3] == pytest.approx(whole[3], abs=0.02)


def test_orders_longer_than_every_document_are_left_out():
    assert starvation(corpus([0, 1, 2], [0, 1, 2, 0, 1]), [1, 2, 3]) == {1: 0.0, 2: 0.0}
