"""The tasks of examples/lm_eval under lm-evaluation-harness: the same numbers as `seqstate evaluate`."""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import seqstate
from seqstate.cli import main
from seqstate.text.tokenizer import Tokenizer
from seqstate.trained import ModelConfig, Trained

# what lm_eval and what it imports warn of is theirs to mend
pytestmark = [pytest.mark.lm_eval, pytest.mark.filterwarnings("ignore")]

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "lm_eval"
WORDS = re.findall(
    r"\w+", "the old man saw a ship near the shore and the young boy ran home to sea"
)
MODELS = {
    "lstm": ("lstm(width=16)", "multi_hamming(groups=4)"),
    "attention": ("attention(width=16)", "inner"),
    "ngram": ("ngram(order=3)", None),
}
CONTEXT = 128  # tokens of one window


def sentences(count: int, step: int = 7) -> str:
    picked = [
        " ".join(WORDS[(row * row + step * at) % len(WORDS)] for at in range(3 + row % 5))
        for row in range(count)
    ]
    return ".\n".join(picked) + ".\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The models, trained for a few steps, as folders."""
    place, found = tmp_path_factory.mktemp("models"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_CACHE", str(place / "cache"))
        for name, (state, energy) in MODELS.items():
            training = {"steps": 12, "context": CONTEXT, "batch_size": 4}
            trained = seqstate.fit(
                sentences(200), state=state, energy=energy, tokenizer="word", **training
            )
            found[name] = trained.save(place / name)
    return found


def harness(folder: Path, *tasks: str, options: str = "", **metadata) -> dict[str, dict]:
    """Results of tasks by name, computed as the lm_eval command computes them."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={folder},dtype=float32{options}",
        tasks=list(tasks),
        task_manager=manager,
        device="cpu",
        batch_size=4,
        bootstrap_iters=0,
    )
    return found["results"]


def bits(folder: Path, text: Path, options: str = "") -> float:
    options = f",add_bos_token=False{options}"
    found = harness(folder, "own_text_bits", options=options, text=str(text))
    return found["own_text_bits"]["bits_per_byte,none"]


def evaluated(folder: Path, text: Path, capsys) -> float:
    capsys.readouterr()
    assert main(["evaluate", str(folder), str(text), "--rows", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["bits_per_byte"]


@pytest.mark.parametrize("name", MODELS)
def test_bits_per_byte_are_those_of_evaluate(folders, name, tmp_path, capsys):
    text = tmp_path / "mine.txt"
    # attention reads windows: one holds this document; the others carry their state through any length
    text.write_text(sentences(14 if name == "attention" else 200, step=5), encoding="utf-8")
    trained = seqstate.load(folders[name])
    tokens = len(trained.tokenizer.encode(text.read_text(encoding="utf-8")))
    assert tokens <= CONTEXT if name == "attention" else tokens > 4 * CONTEXT
    window = f",max_length={CONTEXT}" if name == "attention" else ""
    found = bits(folders[name], text, window)
    assert found == pytest.approx(evaluated(folders[name], text, capsys), abs=1e-6)


def test_each_document_is_opened_anew_and_its_end_not_asked_for(folders, tmp_path):
    said = [sentences(count, step=5) for count in (9, 30, 2)]
    text = tmp_path / "mine.jsonl"
    text.write_text("".join(json.dumps({"text": one}) + "\n" for one in said), encoding="utf-8")
    trained = seqstate.load(folders["lstm"])
    nats = sum(float(trained.evaluate(one).nats.sum(dtype=np.float64)) for one in said)
    wanted = nats / math.log(2) / sum(len(one.encode()) for one in said)
    assert bits(folders["lstm"], text) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", ["lstm", "attention"])
def test_max_length_forgets_all_but_one_token_between_windows(folders, name, tmp_path):
    size, text = 64, tmp_path / "mine.txt"
    text.write_text(sentences(120, step=5), encoding="utf-8")
    trained = seqstate.load(folders[name])
    whole = text.read_text(encoding="utf-8")
    ids = np.concatenate([[trained.tokenizer.boundary], trained.tokenizer.encode(whole)])
    starts = [*range(0, len(ids) - 1 - size, size), len(ids) - 1 - size]  # the last is a full one
    nats = []
    for start in starts:
        read = trained.evaluate_ids(ids[start : start + size + 1], 1, carry=True, rows=1)
        nats += read.nats[len(nats) - start :].tolist()
    assert len(nats) == len(ids) - 1
    wanted = sum(nats) / math.log(2) / len(whole.encode())
    found = bits(folders[name], text, f",max_length={size}")
    assert found == pytest.approx(wanted, abs=1e-6)
    assert abs(found - bits(folders[name], text)) > 1e-5  # not the question `evaluate` asks


def test_the_boundary_is_asked_for_too_unless_add_bos_token_is_false(folders, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text(sentences(40, step=5), encoding="utf-8")
    trained = seqstate.load(folders["lstm"])
    boundary, whole = trained.tokenizer.boundary, text.read_text(encoding="utf-8")
    ids = np.array([boundary, boundary, *trained.tokenizer.encode(whole)])
    wanted = trained.evaluate_ids(ids, len(whole.encode())).bits_per_byte
    found = harness(folders["lstm"], "own_text_bits", text=str(text))
    assert found["own_text_bits"]["bits_per_byte,none"] == pytest.approx(wanted, abs=1e-6)


def test_the_next_word_is_the_one_that_greedy_generation_writes(folders, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text(sentences(160), encoding="utf-8")
    trained = seqstate.load(folders["ngram"])
    asked, right = 0, 0
    words = re.findall(r"\S+\s*", text.read_text(encoding="utf-8"))
    for first in range(0, len(words) - 7, 8):
        before = "".join(words[first : first + 7])
        space = before[len(before.rstrip()) :]
        target = space + re.match(r"\w+", words[first + 7])[0]
        count = len(trained.tokenizer.encode(target))
        written = trained.generate(before.rstrip(), tokens=count, temperature=0)
        asked, right = asked + 1, right + (written == target)
    assert 0 < right < asked
    found = harness(folders["ngram"], "own_next_word", text=str(text), words=8)["own_next_word"]
    assert found["sample_len"] == asked
    assert found["acc,none"] == pytest.approx(right / asked, abs=1e-12)


def test_pairs_are_decided_by_their_log_likelihood_and_ties_count_half(folders, tmp_path):
    lines = sentences(30, step=5).splitlines()
    rows = [(one, " ".join(reversed(one.split(" ")))) for one in lines] + [("a ship", "a ship")]
    path = tmp_path / "mine.jsonl"
    named = [{"sentence_good": good, "sentence_bad": bad} for good, bad in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    trained = seqstate.load(folders["lstm"])

    def nats(sentence: str) -> float:
        return float(trained.evaluate(sentence).nats.sum(dtype=np.float64))

    won = [0.5 if good == bad else float(nats(good) < nats(bad)) for good, bad in rows]
    found = harness(folders["lstm"], "own_pairs", pairs=str(path))["own_pairs"]
    assert found["acc,none"] == pytest.approx(sum(won) / len(won), abs=1e-12)
    assert 0 < sum(won) < len(won)


def test_the_pairs_here_are_those_the_script_makes():
    script = runpy.run_path(str(FOLDER / "make_pairs.py"))
    here = [json.loads(line) for line in (FOLDER / "pairs.jsonl").read_text().splitlines()]
    assert here == script["pairs"](50, 0)
    assert all(row["sentence_good"] != row["sentence_bad"] for row in here)


@pytest.mark.parametrize(
    ("task", "metadata", "said"),
    [
        ("own_text_bits", {}, "--metadata text=FILE"),
        ("own_next_word", {"text": "mine.txt"}, "try words=8"),
        ("own_next_word", {"text": "mine.txt", "words": 1}, "give 2 or more"),
        ("own_pairs", {"pairs": "mine.jsonl"}, "line 1: wanted sentence_good and sentence_bad"),
    ],
)
def test_what_is_missing_is_said(task, metadata, said, tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("one two three\n")
    Path("mine.jsonl").write_text('{"text": "one"}\n')
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    with pytest.raises(ValueError, match=re.escape(said)):
        manager.load(task)


def test_a_folder_made_by_save_pretrained_needs_no_import(tmp_path):
    """trust_remote_code=True loads it where seqstate was not imported, as the lm_eval command does."""
    import subprocess
    import sys

    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = Tokenizer.train("byte", [])
    config = ModelConfig(state="gru(width=16)", energy="inner", vocab_size=257, boundary=256)
    torch.manual_seed(0)
    Trained(config.build(), words, config).save(tmp_path / "m")
    for kind in (AutoModelForCausalLM, AutoTokenizer):
        kind.from_pretrained(tmp_path / "m").save_pretrained(tmp_path / "hub")
    code = f"""
from lm_eval.models.huggingface import HFLM
model = HFLM(pretrained={str(tmp_path / "hub")!r}, trust_remote_code=True, device="cpu", dtype="float32")
print(type(model.model).__name__, model.prefix_token_id, model.max_length > 10**6)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.split() == ["SeqstateForCausalLM", "256", "True"], ran.stderr
