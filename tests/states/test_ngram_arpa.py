import gzip
import random
from pathlib import Path

import kenlm
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqstate.states.ngram import NGram

FIXTURES = Path(__file__).parent.parent / "fixtures" / "ngram"
TINY = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.4
-0.7\t</s>
-0.8\tcat\t-0.2
-0.9\tsat

\\2-grams:
-0.3\t<s> cat\t-0.1
-0.2\tcat sat
-0.1\tcat </s>

\\3-grams:
-0.05\t<s> cat sat

\\end\\
"""


@pytest.fixture(scope="module")
def model_and_words():
    text = np.random.default_rng(0).zipf(1.4, 3000)
    text = text[text < 50]
    text[::9] = 0
    model = NGram(vocab_size=52, order=4)
    model.count(text, boundary=0)
    return model, ["<s>", *[f"wörd{i}" for i in range(50)], "<unk>"]


def random_sentences(words, seed=0):
    draw = random.Random(seed)
    inner = [word for word in words if word != "<s>"]
    return [draw.choices(inner, k=draw.randint(0, 12)) for _ in range(60)]


def log10_scores(model, words, sentence):
    ids = [words.index(word) for word in ["<s>", *sentence, "<s>"]]
    nll, _ = model.nll(torch.tensor([ids[:-1]]), torch.tensor([ids[1:]]))
    return (-nll[0].double() / np.log(10)).tolist()


def assert_scores_like(theirs, model, words):
    for sentence in random_sentences(words):
        expected = [score for score, _, _ in theirs.full_scores(" ".join(sentence))]
        assert log10_scores(model, words, sentence) == pytest.approx(expected, abs=2e-6)


def test_kenlm_reading_our_file_gives_our_scores(model_and_words, tmp_path):
    model, words = model_and_words
    model.to_arpa(tmp_path / "ours.arpa", words)
    assert_scores_like(kenlm.Model(str(tmp_path / "ours.arpa")), model, words)


@pytest.mark.parametrize("name", ["words.3", "words.5.prune", "words.6", "chars.6", "tiny.6"])
def test_our_reading_of_lmplz_files_gives_the_scores_of_kenlm(name, tmp_path):
    plain = tmp_path / "theirs.arpa"
    plain.write_bytes(gzip.decompress((FIXTURES / f"{name}.arpa.gz").read_bytes()))
    model, words = NGram.from_arpa(plain)
    assert_scores_like(kenlm.Model(str(plain)), model, words)
    logits, _ = model(torch.randint(len(words), (2, 20)))
    # a file has six digits of each number
    assert (logits.double().exp().sum(-1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("suffix", ["arpa", "arpa.gz"])
def test_writing_and_reading_back_changes_nothing(model_and_words, tmp_path, suffix):
    model, words = model_and_words
    model.to_arpa(tmp_path / f"a.{suffix}", words)
    again, names = NGram.from_arpa(tmp_path / f"a.{suffix}")
    assert names == words
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(dict(again.named_buffers())[name], buffer, rtol=1e-9, atol=0)


def test_a_unigram_model_is_written_without_backoffs(tmp_path):
    model = NGram(vocab_size=3, order=1)
    model.count(np.array([0, 1, 1, 2]), 0)
    model.to_arpa(tmp_path / "a.arpa", ["", "a", "b"])
    again, _ = NGram.from_arpa(tmp_path / "a.arpa")
    torch.testing.assert_close(again.unigram, model.unigram)


def test_a_file_that_lacks_shorter_forms_is_backed_off_as_the_format_says(tmp_path):
    path = tmp_path / "a.arpa"
    path.write_text(TINY)
    model, words = NGram.from_arpa(path)
    assert words == ["<unk>", "<s>", "cat", "sat"]
    # "cat cat": no such bigram, so the back-off of (<s> cat), then of (cat), then the unigram
    assert log10_scores(model, words, ["cat", "cat"])[:2] == pytest.approx([-0.3, -1.1], abs=1e-6)
    assert log10_scores(model, words, ["cat", "sat"]) == pytest.approx(
        [-0.3, -0.05, -0.7], abs=1e-6
    )
    # "sat" alone is no context of the trigram "<s> cat sat", though the file has no bigram "sat ..."
    assert log10_scores(model, words, ["sat"])[0] == pytest.approx(-0.4 - 0.9, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["<s>", "a b", "c"], "white space"),
        (["<s>", "", "c"], "white space"),
        (["<s>", "\ud800", "c"], "cannot stand"),
        (["<s>", "c", "c"], "names 2 ids"),
        (["<s>", "</s>", "c"], "names 2 ids"),
        (["<s>", "c"], "found 2 words"),
    ],
)
def test_names_the_format_cannot_hold_are_refused(words, message, tmp_path):
    model = NGram(vocab_size=3, order=2)
    model.count(np.array([0, 1, 2]), 0)
    with pytest.raises(ValueError, match=message):
        model.to_arpa(tmp_path / "a.arpa", words)
    assert not (tmp_path / "a.arpa").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "hello", "line 1: found 'hello', wanted an ARPA file"),
        ("ngram 2=3", "ngram 3=3", "line 3: .* wanted 'ngram 2=COUNT'"),
        ("ngram 2=3", "ngram 2=many", "line 3: .* wanted 'ngram 2=COUNT'"),
        ("ngram 2=3", "ngram 2=4", "found 3 2-grams, but the header counts 4"),
        ("ngram 1=5", "ngram 1=0", "counts no 1-grams"),
        ("-0.9\tsat", "-0.9", "line 11: found 1 fields"),
        ("-0.9\tsat", "0.9\tsat", "line 11: found 0.9 as a log10 prob"),
        ("-0.9\tsat", "nan\tsat", "line 11: found nan"),
        ("-0.9\tsat", "-inf\tsat", "line 11: found -inf"),
        ("-0.9\tsat", "-0.9\tsat\tinf", "line 11: found inf as a log10 back-off"),
        ("-0.9\tsat", "-0.9\tcat", "'cat' appears twice"),
        ("cat sat\n-0.1", "cat dog\n-0.1", "'dog' is no 1-gram"),
        ("cat sat\n-0.1", "cat <s>\n-0.1", "'<s>' is out of place"),
        ("cat sat\n-0.1", "</s> sat\n-0.1", "'</s>' is out of place"),
        ("cat </s>", "cat sat", "2-gram 'cat sat' appears twice"),
        ("\\2-grams:", "\\4-grams:", "wanted .2-grams:"),
        ("\n\\end\\", "", "wanted .end. after"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(old, new, message, tmp_path):
    assert old in TINY
    path = tmp_path / "a.arpa"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        NGram.from_arpa(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=150)
@given(st.data())
def test_any_damage_gives_a_model_or_one_line(tmp_path_factory, data):
    raw = bytearray(TINY.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 12)))
        raw[start:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"-9e99", b"\n\\", b"1"])
        )
    if data.draw(st.booleans()):
        packed = gzip.compress(bytes(raw), mtime=0)
        raw = bytearray(packed[: data.draw(st.integers(3, len(packed)))])
    path = tmp_path_factory.getbasetemp() / "damaged.arpa"
    path.write_bytes(raw)
    try:
        model, words = NGram.from_arpa(path)
    except ValueError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        logits, _ = model(torch.arange(len(words))[None])
        assert not logits.isnan().any()
