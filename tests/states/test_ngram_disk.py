"""Counting through DuckDB gives what counting in memory gives."""

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqstate.states import _ngram_disk, ngram
from seqstate.states._ngram_disk import chunks
from seqstate.states.ngram import NGram

VOCAB, BOUNDARY = 6, 2
texts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=60).filter(
    lambda text: set(text) != {BOUNDARY}
)


def both(monkeypatch, tokens, vocab_size, **options):
    memory, disk = (NGram(vocab_size=vocab_size, **options) for _ in range(2))
    memory.count(tokens, BOUNDARY)
    with monkeypatch.context() as patched:
        patched.setattr(ngram, "COUNTING_BYTES", 1e12)  # so that any text is too large
        patched.setattr(_ngram_disk, "CHUNK", 17)
        disk.count(tokens, BOUNDARY)
    return memory, disk


def assert_equal(memory, disk):
    found = dict(disk.named_buffers())
    for name, buffer in memory.named_buffers():
        assert found[name].dtype == buffer.dtype
        torch.testing.assert_close(found[name], buffer, rtol=1e-6, atol=1e-7, msg=name)


@settings(max_examples=12)
@given(texts, st.integers(2, 6), st.sampled_from([(), (0, 0, 1, 2)]))
def test_small_texts_are_counted_alike(text, order, prune):
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_equal(*both(monkeypatch, np.array(text), VOCAB, order=order, prune=prune))


def test_a_larger_text_is_counted_alike(monkeypatch, tmp_path):
    text = np.random.default_rng(0).zipf(1.4, 4000)
    text = text[text < 300].astype(np.uint16)
    mapped = np.memmap(tmp_path / "ids", dtype=np.uint16, mode="w+", shape=text.shape)
    mapped[:] = text
    memory, disk = both(monkeypatch, mapped, 300, order=4)
    assert_equal(memory, disk)
    assert len(memory.keys_4) > 1000


def test_pieces_of_any_size_have_the_same_windows():
    text = np.array([2, 0, 1, 2, 2, 3, 4, 5, 0, 1, 0, 2, 3])

    def windows(size):
        parts = list(chunks(text, BOUNDARY, 4, size))
        return {name: np.concatenate([part[name] for part in parts]).tolist() for name in parts[0]}

    whole = windows(1000)
    assert whole["w"] == [0, 1, 2, 2, 3, 4, 5, 0, 1, 0, 2, 3, 2]
    assert whole["c3"] == [-1, -1, 2, -1, -1, -1, 2, 3, 4, 5, 0, -1, -1]
    assert all(windows(size) == whole for size in range(1, 8))


def test_the_folder_is_removed_also_after_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run_out(*_):
        assert list(tmp_path.iterdir())
        raise duckdb.OutOfMemoryException("no\nmemory")

    monkeypatch.setattr(_ngram_disk._Job, "_grams", run_out)
    with pytest.raises(ValueError, match="raise memory_gb") as caught:
        both(monkeypatch, np.array([0, 1, 3]), VOCAB, order=3)
    assert "\n" not in str(caught.value)
    assert not list(Path(tmp_path).iterdir())
