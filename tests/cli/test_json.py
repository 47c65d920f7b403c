"""With --json, standard output is one JSON value and nothing else, whatever the command."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec

import pytest

from seqstate.cli import COMMANDS, main

QUICK = ["--tokenizer", "char", "--steps", "2", "--batch-size", "2", "--context", "16"]
CASES = {  # command -> arguments, a name that must be somewhere in the answer
    "compare": (["BOOK", "--models", "rnn + inner", "--parameters", "5000", "--jobs", "1", *QUICK], "rnn"),
    "train": (["BOOK", "--state", "rnn(width=8)", *QUICK, "--out", "new"], "bits_per_byte"),
    "generate": (["model", "--tokens", "5"], "texts"),
    "evaluate": (["model", "BOOK"], "bits_per_byte"),
    "parse": (["grammar", "the cat sat"], "tree"),
    "claim": ([], "energy_beats_inner"),
    "fuse": (["model", "counted", "--out", "fused"], "gain"),
    "audit": (["model", "BOOK", "--instruments", "logit_rank"], "logit_rank"),
    "inspect": (["model", "BOOK", "--instruments", "gates"], "gate_saturation"),
    "export": (["model", "--safetensors", "one.safetensors", "--hf", "folder"], "one.safetensors"),
    "report": (["model", "--out", "page.html"], "gru"),
    "ls": ([], "multi_hamming"),
}  # fmt: skip


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Letters drawn at random: a fusion refuses to be taught by text like that of the training."""
    draw, path = random.Random(0), tmp_path_factory.mktemp("text") / "book.txt"
    lines = ["".join(draw.choices("abcdefgh ", k=40)) + ".\n" for _ in range(200)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(book, tmp_path_factory):
    """A folder with a trained and a counted model of one corpus in it."""
    place = tmp_path_factory.mktemp("json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for name, state in {"model": "gru(width=16)", "counted": "ngram(order=3)"}.items():
            assert (
                main(["train", str(book), "--state", state, *QUICK, "--out", str(place / name)])
                == 0
            )
        trees, held = place / "trees.ptb", place / "held.ptb"
        trees.write_text("(S (NP (D the) (N cat)) (VP (V sat)))\n" * 20, encoding="utf-8")
        held.write_text("(S (NP (D the) (N cat)) (VP (V the)))\n" * 9, encoding="utf-8")
        grammar = ["--valid", str(held), "--state", "table_pcfg", "--out", str(place / "grammar")]
        assert main(["train", str(trees), *grammar]) == 0
    return place


def test_every_command_that_prints_results_has_a_case():
    assert set(CASES) == set(COMMANDS) - {"completion"}  # which prints a script


@pytest.mark.parametrize("command", CASES)
def test_standard_output_is_json_alone(command, seqstate, models, book, monkeypatch):
    monkeypatch.chdir(models)
    arguments, wanted = CASES[command]
    given = [str(book) if argument == "BOOK" else argument for argument in arguments]
    code, out, err = seqstate(command, *given, "--json")
    assert code == 0, err
    assert wanted in json.dumps(json.loads(out))


@pytest.mark.parametrize(("part", "option"), [("lstm", "forget_bias"), ("multi_hamming", "groups")])
def test_one_part_is_listed_as_json_with_its_options(seqstate, part, option):
    code, out, _ = seqstate("ls", part, "--json")
    (entry,) = json.loads(out)
    assert (code, entry["name"]) == (0, part)
    assert option in entry["options"]
    assert f"{option}={entry['options'][option]}" in seqstate("ls", part)[1]


def test_an_exported_folder_is_loaded_by_transformers_and_by_us(seqstate, models, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import seqstate as package

    monkeypatch.chdir(models)
    assert seqstate("export", "model", "--hf", "shared")[0] == 0
    ours, theirs = package.load("model"), AutoModelForCausalLM.from_pretrained("shared")
    tokens = AutoTokenizer.from_pretrained("shared")("The old man", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(theirs(**tokens).logits, ours.model(tokens["input_ids"])[0])
    assert package.load("shared").generate("The", tokens=5) == ours.generate("The", tokens=5)
    numbers = json.loads((models / "model" / "run.json").read_text())["readings"]
    bits = next(one["value"] for one in numbers if one["name"] == "bits_per_byte")
    assert f"| bits_per_byte | {bits:.5g} |" in (models / "shared" / "README.md").read_text()


def test_an_exported_folder_is_replaced_when_asked_and_nothing_else_ever_is(
    seqstate, models, monkeypatch
):
    monkeypatch.chdir(models)
    assert seqstate("export", "counted", "--hf", "again")[0] == 0
    before = (models / "again" / "config.json").read_text()
    code, _, err = seqstate("export", "model", "--hf", "again")
    assert (code, "add --overwrite" in err) == (2, True)
    assert (models / "again" / "config.json").read_text() == before
    assert seqstate("export", "model", "--hf", "again", "--overwrite")[0] == 0
    assert "gru" in (models / "again" / "config.json").read_text()
    (models / "mine").mkdir()
    (models / "mine" / "thesis.tex").write_text("precious")
    code, _, err = seqstate("export", "model", "--hf", "mine", "--overwrite")
    assert (code, "something else" in err) == (2, True)
    assert (models / "mine" / "thesis.tex").read_text() == "precious"
    assert not [path for path in models.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("command", ["evaluate", "generate", "inspect", "audit", "export"])
def test_without_transformers_the_extra_is_named(command, seqstate, models, monkeypatch):
    monkeypatch.chdir(models)
    missing = {"transformers"}
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name in missing else find_spec(name, *rest),
    )
    given = {"evaluate": ["hf:x", "y"], "export": ["model", "--hf", "never"]}.get(command, ["hf:x"])
    code, _, err = seqstate(command, *given)
    assert (code, "pip install 'seqstate[hf]'" in err) == (2, True)
    assert not (models / "never").exists()
