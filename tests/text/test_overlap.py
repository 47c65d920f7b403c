"""A few kilobytes tell whether a text was read in training."""

import numpy as np
import pytest

from seqstate.text import overlap as place
from seqstate.text.overlap import WINDOW, hashes, overlap, sketch


def text(size, seed):
    return np.random.default_rng(seed).integers(0, 60, size).astype(np.uint16)


def test_equal_stretches_have_equal_hashes_and_others_have_not():
    ids = np.concatenate([text(100, 0), text(40, 1), text(100, 0)])
    found = hashes(ids)
    assert len(found) == len(ids) - WINDOW + 1
    assert np.array_equal(found[: 100 - WINDOW + 1], found[140 : 240 - WINDOW + 1])
    assert len(np.unique(found)) == len(found) - (100 - WINDOW + 1)


def test_the_share_that_was_read_is_found():
    read, new = text(200_000, 0), text(20_000, 1)
    kept = sketch(read)
    assert overlap(kept, read[90_000:110_000]) == 1.0
    assert overlap(kept, new) == 0.0
    half = np.concatenate([read[:10_000], new[:10_000]])
    assert overlap(kept, half) == pytest.approx(0.5, abs=0.2)


def test_a_short_text_is_known_whole():
    read = text(300, 0)
    assert overlap(sketch(read), read) == 1.0
    assert overlap(sketch(read), np.concatenate([read, text(300, 1)])) == pytest.approx(
        (300 - WINDOW + 1) / (600 - WINDOW + 1)
    )


@pytest.mark.parametrize("size", [0, 1, WINDOW - 1])
def test_less_than_one_stretch_tells_nothing(size):
    assert sketch(text(size, 0)) == ""
    assert overlap("", text(1000, 0)) == overlap(sketch(text(1000, 0)), text(size, 0)) == 0.0


def test_blocks_do_not_matter(monkeypatch):
    read = np.concatenate([text(3000, 0), text(3000, 0), text(2000, 1)])
    whole = sketch(read), overlap(sketch(read), read[4000:])
    monkeypatch.setattr(place, "BLOCK", 77)
    assert (sketch(read), overlap(whole[0], read[4000:])) == whole
