"""Every number equals that of KenLM's lmplz; see fixtures/ngram/PROVENANCE.md."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from seqstate.states.ngram import NGram

FIXTURES = Path(__file__).parent.parent / "fixtures" / "ngram"


def lines_of(name):
    return (FIXTURES / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def estimated(name, vocab_size=None, **options):
    """Our model of a fixture's text: id 0 opens a line, id 1 and all above the last word never occur."""
    lines = [line.split() for line in lines_of(name)]
    words = ["<s>", "<unk>", *dict.fromkeys(word for line in lines for word in line)]
    words += [f"unused{i}" for i in range(len(words), vocab_size or 0)]
    ids = {word: i for i, word in enumerate(words)}
    model = NGram(vocab_size=len(words), **options)
    model.count(np.array([i for line in lines for i in [0, *map(ids.get, line)]]), 0)
    return model, words


def table(path):
    """N-gram -> log10 probability and back-off."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line[:1] in "-0123456789"]
    return {row[1]: (float(row[0]), float((row[2:] or ["0"])[0])) for row in rows}


@pytest.mark.parametrize(
    ("fixture", "text", "options"),
    [
        *[(f"words.{order}", "words", {"order": order}) for order in range(1, 7)],
        ("words.5.prune", "words", {"order": 5, "prune": (0, 0, 1, 2)}),
        ("words.3.pad", "words", {"order": 3, "vocab_size": 500}),
        ("chars.6", "chars", {"order": 6}),
        ("tiny.6", "tiny", {"order": 6}),
    ],
)
def test_every_probability_and_backoff_is_that_of_lmplz(fixture, text, options, tmp_path):
    model, words = estimated(text, **options)
    model.to_arpa(tmp_path / "ours.arpa", words)
    theirs, ours = table(FIXTURES / f"{fixture}.arpa.gz"), table(tmp_path / "ours.arpa")
    unused = {word for word in words if word.startswith("unused")}
    assert ours.keys() - unused == theirs.keys()
    assert {ours[word] for word in unused} <= {ours["<unk>"]}, "words never seen share alike"
    del (
        theirs["<s>"],
        ours["<s>"],
    )  # its probability is a convention of the format, its back-off is below
    grams = list(theirs)
    difference = np.array([ours[g] for g in grams]) - np.array([theirs[g] for g in grams])
    assert len(grams) > 8
    assert np.abs(difference).max() < 1e-6


def test_the_opening_of_a_document_has_the_backoff_of_lmplz(tmp_path):
    model, words = estimated("words", order=4)
    model.to_arpa(tmp_path / "ours.arpa", words)
    theirs = table(FIXTURES / "words.4.arpa.gz")
    assert table(tmp_path / "ours.arpa")["<s>"][1] == pytest.approx(theirs["<s>"][1], abs=1e-6)
