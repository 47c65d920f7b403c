"""Batches are pure functions of their number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.text.batches import Lanes, Windows


@pytest.mark.parametrize("reader", [Lanes, Windows])
def test_the_same_number_gives_the_same_batch(reader):
    ids = np.arange(1000, dtype=np.uint16)
    one = reader(ids, rows=3, context=7, seed=5)
    other = reader(ids, rows=3, context=7, seed=5)
    for index in (0, 1, 46, 47, 400):
        assert all(
            np.array_equal(a, b) for a, b in zip(one.batch(index), other.batch(index), strict=True)
        )
    tokens, targets, _ = one.batch(3)
    assert tokens.shape == targets.shape == (3, 7)
    assert np.array_equal(tokens[:, 1:], targets[:, :-1])


@given(
    size=st.integers(60, 400),
    rows=st.integers(1, 5),
    context=st.integers(1, 11),
    seed=st.integers(0, 9),
)
def test_lanes_go_on_where_they_stopped_and_read_nearly_everything_once(size, rows, context, seed):
    ids = np.arange(size)
    lanes = Lanes(ids, rows=rows, context=context, seed=seed)
    read, last = [], None
    for index in range(lanes.windows):
        tokens, targets, fresh = lanes.batch(index)
        assert fresh == (index == 0)
        if index:
            assert np.array_equal(tokens[:, 0], last)
        last = targets[:, -1]
        read.append(tokens)
    everything = np.concatenate(read, None)
    assert len(np.unique(everything)) == len(everything) == lanes.windows * rows * context
    assert size - len(everything) < rows * context
    assert lanes.batch(lanes.windows)[2], "a new epoch starts afresh"


def test_epochs_start_at_different_places():
    lanes = Lanes(np.arange(1000), rows=2, context=10, seed=0)
    first, second = lanes.batch(0)[0], lanes.batch(lanes.windows)[0]
    assert not np.array_equal(first, second)


def test_a_text_shorter_than_a_batch_is_read_round_and_round():
    tokens, targets, _ = Lanes(np.arange(5), rows=3, context=8, seed=0).batch(0)
    assert np.array_equal(targets, (tokens + 1) % 5)
