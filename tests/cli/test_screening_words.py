"""generate --screen end to end: the same text from few scored words, and refusals in one line."""

from __future__ import annotations

import pytest

QUICK = ["--tokenizer", "char", "--steps", "12", "--batch-size", "4", "--context", "16"]


def test_generate_scores_only_what_a_screen_leaves(seqstate, book, tmp_path):
    model = tmp_path / "model"
    chosen = ["--state", "lstm(width=16)", "--energy", "multi_hamming(groups=4)"]
    assert seqstate("train", book, *chosen, *QUICK, "--out", model)[0] == 0
    write = ["generate", model, "--prompt", "The", "--tokens", 40]
    plain, screened = (
        seqstate(*write, "--temperature", 0, *asked) for asked in ([], ["--screen", "certified"])
    )
    assert plain == screened and len(plain[1]) > 20
    drawn = [
        seqstate(*write, "--top-k", 3, "--screen", "certified", "--seed", seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    batch = ["-n", 3, "--json", "--temperature", 0]
    assert seqstate(*write, *batch) == seqstate(*write, *batch, "--screen", "certified")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--screen", "certified"], "give temperature 0 or a top-k"),
        (["--screen", "certifed", "--temperature", "0"], "did you mean 'certified'"),
        (["--screen", "mismatches", "--temperature", "0"], "Inner has no codes"),
        (["--screen", "mismatches(most=0)", "--top-k", "2"], "Inner has no codes"),
        (["--screen", "certified(most=0)", "--top-k", "2"], "no option 'most'"),
    ],
)
def test_generate_refuses_a_screen_in_one_line(seqstate, book, tmp_path, asked, told):
    model = tmp_path / "model"
    assert seqstate("train", book, "--state", "rnn(width=8)", *QUICK, "--out", model)[0] == 0
    code, out, err = seqstate("generate", model, "--prompt", "The", *asked)
    assert (code, out) == (2, "")
    assert told in err and len(err.strip().splitlines()) == 1


def test_generate_cannot_screen_what_no_head_scores(seqstate, book, tmp_path):
    model = tmp_path / "model"
    assert seqstate("train", book, "--state", "ngram(order=2)", "--out", model)[0] == 0
    code, _, err = seqstate("generate", model, "--screen", "certified", "--temperature", 0)
    assert (code, "no head that scores words" in err) == (2, True)
