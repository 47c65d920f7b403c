"""`seqstate inspect`, and what it shares with `audit`: which text is read, and what goes into a record."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import seqstate as package
from seqstate.cli import main
from seqstate.text.tokenizer import Tokenizer

QUICK = ["--tokenizer", "char", "--steps", "3", "--batch-size", "2", "--context", "16"]


@pytest.fixture(scope="module")
def trained(book, tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_CACHE", str(place / "cache"))
        command = ["train", str(book), "--state", "lstm(width=16)", *QUICK]
        assert main([*command, "--out", str(place / "model")]) == 0
    return place / "model"


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained folder: recording changes it."""
    return shutil.copytree(trained, tmp_path / "model")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """Reads 24 tokens at most, and its tokeniser has no token that opens a text."""
    place = tmp_path_factory.mktemp("hf") / "gpt2"
    torch.manual_seed(0)
    shape = {"n_positions": 24, "n_embd": 8, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=257, **shape, **ends)).save_pretrained(place)
    words = Tokenizer.train("byte", []).model
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(place)
    return place


def test_one_table_has_readings_with_unit_count_and_error_and_says_what_was_not_measured(
    seqstate, folder, book, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "160")
    code, out, err = seqstate("inspect", folder, book)
    assert code == 0, err
    row = next(line for line in out.splitlines() if "forget_gate_open" in line)
    assert "share of gate values" in row and "+-" in row and row.split()[-1] == "16"
    assert "on 16 stretches of 255 tokens" in out
    refused = out.partition("not measured:")[2]
    assert "graph" in refused and "every position picks predecessors" in refused


def test_the_numbers_are_those_of_the_library(seqstate, folder, book):
    specs = ["gates(open=0.7)", "logit_rank(rows=64)"]
    code, out, err = seqstate("inspect", folder, book, "--instruments", *specs, "--json")
    assert code == 0, err
    told = json.loads(out)
    trained = package.load(folder)
    text = torch.from_numpy(trained.tokenizer.encode(book.read_text()))
    ids = torch.cat([torch.tensor([trained.tokenizer.boundary]), text])
    starts = torch.arange(16) * (len(ids) - 256) // 15
    found = package.inspect(
        trained.model, ids[starts[:, None] + torch.arange(256)], instruments=specs
    )
    wanted = [(s, r.name, r.value, r.stderr) for s, some in found.readings.items() for r in some]
    keys = ("instrument", "name", "value", "stderr")
    assert [tuple(row[key] for key in keys) for row in told["readings"]] == wanted
    assert len(told["readings"][1]["tags"]["histogram"]) == 20
    assert told["read"] == {"rows": 16, "tokens": 255}


def test_a_record_keeps_the_readings_and_what_training_recorded(seqstate, folder, book, tmp_path):
    def recorded():
        rows = json.loads((folder / "run.json").read_text())["readings"]
        return {row["name"]: row for row in rows}

    before = recorded()
    for _ in range(2):
        chosen = ["--instruments", "gates", "logit_rank", "state_bytes"]
        code, _, err = seqstate("inspect", folder, book, *chosen, "--record")
        assert code == 0, err
    after = recorded()
    assert after["state_bytes"] == before["state_bytes"]
    assert before.keys() | {"gate_saturation", "logit_rank"} <= after.keys()
    rows = json.loads((folder / "run.json").read_text())["readings"]
    assert len(rows) == len(after)
    code, _, err = seqstate("report", folder, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "gate_saturation" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_model_of_pairs_is_measured_on_its_targets(seqstate, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    letters = ["abcdefghijklmnopqrst", "pqrstuvwxyz"]
    pairs.write_text("".join(f"{a}{b}\t{b}{a}\n" for a in letters[0] for b in letters[1]))
    quick = ["--tokenizer", "char", "--steps", "2", "--batch-size", "2", "--context", "16"]
    code, _, err = seqstate(
        "train", pairs, "--state", "seq2seq(width=16)", *quick, "--out", tmp_path / "m"
    )
    assert code == 0, err
    for command in ("inspect", "audit"):
        code, out, err = seqstate(
            command, tmp_path / "m", pairs, "--instruments", "logit_rank", "--json"
        )
        assert code == 0, err
        rows = json.loads(out)
        rows = rows["readings"] if command == "inspect" else rows
        # 220 pairs of two letters and their end; boundary, source and separator are not asked for
        assert {row["count"] for row in rows if row["name"] == "logit_rank"} == {220 * 3}
    code, _, err = seqstate("inspect", tmp_path / "m")
    assert (code, "was trained on pairs" in err) == (2, True)


@pytest.mark.parametrize("command", ["inspect", "audit"])
def test_a_hugging_face_model_is_read_in_windows_it_can_read(seqstate, gpt2, book, command):
    code, out, err = seqstate(
        command, f"hf:{gpt2}", book, "--instruments", "logit_rank", "head_gradient", "--json"
    )
    assert code == 0, err
    rows = json.loads(out)
    rows = rows["readings"] if command == "inspect" else rows
    ranks = {row["name"]: row for row in rows}
    assert ranks["logit_rank"]["count"] == 16 * 23
    assert ranks["rank_bound"]["value"] == 8


def test_a_hugging_face_model_says_which_instruments_need_what_it_has_not(seqstate, gpt2, book):
    code, out, err = seqstate("inspect", f"hf:{gpt2}", book, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert {"state_bytes", "unargmaxable"} <= {row["instrument"] for row in told["readings"]}
    assert "written through gates" in told["not_measured"]["gates"]
    grown = {row["name"]: row["value"] for row in told["readings"]}["state_bytes_per_token"]
    # keys and values of 8 numbers, and a flag that the slot is filled
    assert grown == 2 * 8 * 4 + 1
    assert "Loading weights" not in err and "attention_mask" not in err


MISTAKES = {
    "no such folder": (["nowhere"], "nowhere"),
    "no model": (["EMPTY"], "not a trained model"),
    "no weights": (["hf:EMPTY"], "cannot load the Hugging Face model"),
    "hf: of nothing": (["hf:nowhere"], "is not a folder"),
    "no such text": (["MODEL", "nothing.txt"], "nothing.txt"),
    "an unknown instrument": (
        ["MODEL", "BOOK", "--instruments", "logit_rnak"],
        "did you mean 'logit_rank'",
    ),
    "an unknown option of one": (
        ["MODEL", "BOOK", "--instruments", "logit_rank(row=3)"],
        "did you mean 'rows'",
    ),
    "an instrument that does not apply": (
        ["MODEL", "BOOK", "--instruments", "relay_error"],
        "relay_error does not",
    ),
    "a record of a borrowed model": (["hf:EMPTY", "--record"], "leave out --record"),
    "pairs for a model of text": (["MODEL", "BOOK", "--pairs", "a,b"], "leave --pairs out"),
}


@pytest.mark.parametrize("case", MISTAKES)
@pytest.mark.parametrize("command", ["inspect", "audit"])
def test_mistakes_get_one_clear_line_and_code_2(command, case, seqstate, folder, book, tmp_path):
    (tmp_path / "EMPTY").mkdir()
    arguments, words = MISTAKES[case]
    named = {"MODEL": folder, "BOOK": book, "EMPTY": tmp_path / "EMPTY"}
    given = [
        f"hf:{named[name[3:]]}"
        if name[:3] == "hf:" and name[3:] in named
        else named.get(name, name)
        for name in arguments
    ]
    code, out, err = seqstate(command, *given)
    assert (code, out) == (2, "")
    line = err.strip().splitlines()[-1]
    assert line.startswith("seqstate: error:") and words in line
    assert "Traceback" not in err
