"""Masked words on the command line: trained, measured under names of their own, never written with."""

from __future__ import annotations

import json

QUICK = ["--tokenizer", "char", "--steps", "8", "--batch-size", "4", "--context", "16"]
STATE = ["--state", "attention(width=16, layers=1, heads=2)", "--objective", "masked"]


def test_a_reader_is_trained_and_measured_and_does_not_write(seqstate, book, tmp_path):
    folder = tmp_path / "reader"
    train = ["train", book, *STATE, *QUICK, "--out", folder]
    code, out, err = seqstate(*train)
    assert code == 0, err
    assert "pseudo-nats per token" in out
    assert "not to be set beside bits per byte" in out
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "masked.json", "metrics.jsonl", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    code, out, err = seqstate("evaluate", folder, book, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["tokens"] == 1024
    assert 0 < found["pseudo_nats_per_token"] < 5
    assert not any("bits" in name for name in found)
    code, out, _ = seqstate("evaluate", folder, book)
    assert (code, "no likelihood of the text" in out) == (0, True)
    for command in (["generate", folder], ["audit", folder, book], ["fuse", folder, folder]):
        code, _, err = seqstate(*command)
        assert code == 2, command
        assert "no next word to write" in err, (command, err)
        assert len([line for line in err.splitlines() if "error" in line]) == 1
    assert seqstate("report", folder, "--out", tmp_path / "page.html")[0] == 2
    code, _, err = seqstate(*train)
    assert (code, "holds a finished run" in err) == (2, True)
    code, _, err = seqstate(*train, "--resume")
    assert (code, "already finished" in err) == (2, True)
    assert seqstate(*train, "--overwrite")[0] == 0


def test_states_that_cannot_and_texts_that_are_pairs_are_refused(seqstate, book, tmp_path):
    masked = ["--objective", "masked", *QUICK, "--out", tmp_path / "no"]
    code, _, err = seqstate("train", book, "--state", "lstm", *masked)
    assert (code, "reads from left to right only" in err) == (2, True)
    code, _, err = seqstate("train", book, "--state", "ngram(order=2)", *masked)
    assert (code, "distribution of the next word" in err) == (2, True)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{word}\t{word[::-1]}\n" for word in map(str, range(1000, 1400))))
    code, _, err = seqstate("train", pairs, "--state", "attention", *masked)
    assert (code, "these are pairs" in err) == (2, True)
    assert not (tmp_path / "no").exists()
