"""Pairs on the command line: train on a .tsv, write targets, measure; bad lines get one line and code 2."""

from __future__ import annotations

import io
import json

import pytest

QUICK = ["--tokenizer", "char", "--steps", "12", "--batch-size", "4", "--context", "32"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "words.tsv"
    rows = [
        "".join(chr(97 + (i * k) % 9) for k in range(1, 6)) + chr(97 + i % 26) for i in range(80)
    ]
    path.write_text("".join(f"{row}\t{row[::-1]}\n" for row in rows))
    return path


def trained(seqstate, words, tmp_path, state="seq2seq(width=16)"):
    code, out, err = seqstate("train", words, "--state", state, *QUICK, "--out", tmp_path / "model")
    assert code == 0, err
    return out


@pytest.mark.parametrize(
    "state", ["seq2seq(width=16, attention='none')", "lstm(width=16)", "ngram(order=3)"]
)
def test_any_state_trains_on_pairs_writes_targets_and_is_measured(seqstate, words, tmp_path, state):
    out = trained(seqstate, words, tmp_path, state)
    assert "tokens of targets" in out
    assert "targets written exactly" in out
    assert '--source "..."' in out
    code, out, err = seqstate("evaluate", tmp_path / "model", words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["tokens"] == 80 * 7  # six letters and the end of each target
    assert found["bytes"] == 80 * 6
    assert 0 <= found["exact_match"] <= 1
    record = json.loads((tmp_path / "model" / "run.json").read_text())
    assert len(record["surprise"]["text"]) == len(record["surprise"]["nats"])


def test_one_source_and_many(seqstate, words, tmp_path, monkeypatch):
    trained(seqstate, words, tmp_path)
    model = tmp_path / "model"
    code, one, err = seqstate("generate", model, "--source", "abc", "--tokens", 9)
    assert code == 0, err
    (tmp_path / "list.txt").write_text("abc\nfedc\n")
    code, many, err = seqstate("generate", model, "--sources", tmp_path / "list.txt", "--tokens", 9)
    assert code == 0, err
    assert len(many.splitlines()) == 2
    assert many.splitlines()[0] == one.rstrip("\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\nfedc\n"))
    assert seqstate("generate", model, "--sources", "-", "--tokens", 9)[1] == many
    code, out, _ = seqstate("generate", model, "--source", "abc", "--tokens", 9, "--json")
    assert json.loads(out) == [{"source": "abc", "target": one.rstrip("\n")}]
    hot = seqstate("generate", model, "--source", "abc", "--tokens", 9, "--temperature", 5)[1]
    assert hot != one


def test_fields_of_a_jsonl_are_pairs_when_named(seqstate, words, tmp_path):
    rows = tmp_path / "words.jsonl"
    pairs = [line.split("\t") for line in words.read_text().splitlines()]
    rows.write_text("".join(json.dumps({"word": a, "back": b}) + "\n" for a, b in pairs))
    named = ["--pairs", "word,back"]
    code, _, err = seqstate(
        "train", rows, *named, "--state", "seq2seq(width=16)", *QUICK, "--out", tmp_path / "model"
    )
    assert code == 0, err
    code, out, err = seqstate("evaluate", tmp_path / "model", rows, *named, "--json")
    assert code == 0, err
    assert json.loads(out)["tokens"] == 80 * 7


def test_what_does_not_fit_gets_one_clear_line(seqstate, words, book, tmp_path):
    trained(seqstate, words, tmp_path)
    model = tmp_path / "model"
    bad = tmp_path / "bad.tsv"
    bad.write_text(words.read_text() + "no tab here\n")
    (tmp_path / "empty.txt").write_text("")
    text = ["train", book, "--state", "rnn(width=8)", *QUICK, "--out", tmp_path / "text"]
    assert seqstate(*text)[0] == 0
    cases = [
        (["train", bad, "--out", tmp_path / "no"], "bad.tsv, line 81 has 1 column; wanted 2"),
        (["train", bad, book, "--out", tmp_path / "no"], "give one kind"),
        (["train", book, "--pairs", "a", "--out", tmp_path / "no"], "write --pairs source,target"),
        (["evaluate", model, book], "has 1 column; wanted 2"),
        (["evaluate", tmp_path / "text", words, "--pairs", "a,b"], "was trained on text"),
        (["generate", tmp_path / "text", "--source", "a"], "not on pairs"),
        (["generate", model, "--source", "a\tb"], "has a tab"),
        (["generate", model, "--source", "a", "--prompt", "b"], "leave one out"),
        (["generate", model, "--source", "a", "--sources", "-"], "leave one out"),
        (["generate", model, "--source", "a", "-n", "2"], "-n is for texts"),
        (["generate", model, "--sources", tmp_path / "empty.txt"], "holds no line"),
        (["generate", model, "--sources", tmp_path / "absent.txt"], "absent.txt"),
    ]
    for command, said in cases:
        code, out, err = seqstate(*command)
        assert code == 2, (command, err)
        assert said in err, (command, err)
        assert err.strip().splitlines()[-1].startswith("seqstate: error:")
        assert "Traceback" not in out + err
