"""examples/adapt_with_ngram.py: a borrowed model mixed with what was counted on the user's text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "examples" / "adapt_with_ngram.py"
WORDS = "the old man said no word to the young boy who ran along the shore at night"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("adapt_with_ngram", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(step: int, sentences: int) -> str:
    picked = [
        " ".join(WORDS.split()[(row * row + step * at) % 17] for at in range(6))
        for row in range(sentences)
    ]
    return ". ".join(picked) + ".\n"


def test_the_mix_is_better_than_the_model_and_no_worse_than_its_best_part(example, tmp_path):
    (tmp_path / "book.txt").write_text(text(3, 140))
    folder = tmp_path / "small"
    example.make(folder, text(5, 80), steps=12)
    weights = (folder / "model.safetensors").read_bytes()
    found = example.main(
        [str(folder), str(tmp_path / "book.txt"), "--states", "ngram(order=3)", "--mix", "linear"]
    )
    base, counted, mixed = found.values()
    assert mixed < base - 0.5
    assert mixed < counted + 0.02
    assert (folder / "model.safetensors").read_bytes() == weights
