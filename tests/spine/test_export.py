"""Exported models give the numbers of the models they were made from, in the programs they are made for."""

import json
import math
import subprocess
import sys

import kenlm
import numpy as np
import onnxruntime
import pytest
import safetensors
import torch

import seqstate
from seqstate import export

TEXT = "the cat sat on the mat . a dog sat on the log . the dog saw the cat .\n" * 40


def trained(**options):
    return seqstate.fit(TEXT, tokenizer="word", steps=3, batch_size=2, context=8, **options)


@pytest.fixture(scope="module")
def ngram():
    return seqstate.fit(TEXT, tokenizer="word", state="ngram(order=3)")


def test_kenlm_reads_an_exported_ngram_and_agrees(ngram, tmp_path):
    path = export.to_arpa(ngram, tmp_path / "model.arpa.gz")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    names = export.arpa_names(ngram.tokenizer)
    ids = ngram.tokenizer.encode("the dog sat on a mat")
    ours = -ngram.evaluate("the dog sat on a mat").nats.sum() / math.log(10)
    sentence = " ".join(names[i] for i in ids)
    assert kenlm.Model(str(path)).score(sentence, bos=True, eos=False) == pytest.approx(
        ours, abs=1e-4
    )


def test_names_of_tokens_hold_no_white_space():
    letters = seqstate.fit(
        "a b\nc\td e f g a b c \n" * 60, tokenizer="char", state="ngram(order=2)"
    )
    names = export.arpa_names(letters.tokenizer)
    assert len(set(names)) == len(names)
    assert {"▁", "<0x0A>", "a"} <= set(names)
    assert not any(character.isspace() for name in names for character in name)


STEPS = {
    "lstm(width=8)": "multi_hamming(groups=2)",
    "attention(width=8, layers=1, heads=2, window=5)": None,
    "gated_slots(width=8, layers=1, heads=2, slots=5)": None,
    "relay(width=8, layers=1, heads=2, chunk=4)": None,
}
EXPORT = """
import sys
from pathlib import Path
from seqstate.cli import main
for folder in map(Path, sys.argv[1:]):
    assert main(["export", str(folder), "--onnx", str(folder / "step.onnx")]) == 0
"""


def test_onnxruntime_generates_what_torch_generates(tmp_path):
    """All models in one process of their own, which takes seconds to begin: the exporter's symbols are no
    shapes for the run-time checks of the tests.
    """
    models = [trained(state=state, energy=energy) for state, energy in STEPS.items()]
    folders = [model.save(tmp_path / str(number)) for number, model in enumerate(models)]
    done = subprocess.run([sys.executable, "-c", EXPORT, *folders], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("within") == len(models)
    for model, folder in zip(models, folders, strict=True):
        found, wanted = generated(model, folder / "step.onnx")
        assert found == wanted, model.config.state


def generated(model, path):
    """What onnxruntime writes from the beginning, and what torch finds likeliest after each of it."""
    session = onnxruntime.InferenceSession(str(path))
    wanted = {given.name for given in session.get_inputs()}
    ids, parts = [model.tokenizer.boundary], [part.numpy() for part in export.initial_state(path)]
    for _ in range(9):  # longer than the window, and than two chunks
        feed = {"token": np.array(ids[-1:])} | {f"state_{i}": part for i, part in enumerate(parts)}
        logits, *parts = session.run(None, {name: feed[name] for name in feed if name in wanted})
        ids.append(int(logits[0].argmax()))
    with torch.no_grad():
        logits, _ = model.model(torch.tensor([ids[:-1]]), None)
    return ids[1:], logits[0].argmax(-1).tolist()


def test_a_state_that_has_no_onnx_form_is_refused_in_one_line_and_nothing_is_left(tmp_path, capfd):
    model = trained(state="latent(width=8, heads=2)")
    with pytest.raises(ValueError, match=r"latent.* cannot be written as an ONNX graph") as caught:
        export.to_onnx(model, tmp_path / "step.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # torch prints the whole graph of what it could not follow
    assert not list(tmp_path.iterdir())


def test_one_safetensors_file_holds_the_whole_model(tmp_path):
    model = trained(state="gru(width=8)")
    path = export.to_safetensors(model, tmp_path / "model.safetensors")
    with safetensors.safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        tokenizer = file.metadata()["tokenizer"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterable)
    assert config["state"] == "gru(width=8)"
    assert json.loads(tokenizer) == json.loads(model.tokenizer.model.to_str())
    again = model.config.build()
    missing, unknown = again.load_state_dict(tensors, strict=False)
    assert not unknown
    assert set(missing) <= {"embedding.weight", "head.weight"}  # tied: stored once
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        assert torch.equal(again.eval()(tokens)[0], model.model(tokens)[0])


def test_export_asks_for_something_and_overwrites_nothing(ngram, tmp_path, capsys):
    from seqstate.cli import main

    folder, taken = ngram.save(tmp_path / "model"), tmp_path / "taken.arpa"
    taken.write_text("mine")
    assert main(["export", str(folder)]) == 2
    assert main(["export", str(folder), "--arpa", str(taken)]) == 2
    assert taken.read_text() == "mine"
    assert main(["export", str(folder), "--onnx", str(tmp_path / "nowhere" / "step.onnx")]) == 2
    assert "no folder" in capsys.readouterr().err
    assert main(["export", str(folder), "--arpa", str(taken), "--overwrite"]) == 0
    assert taken.read_text().startswith("\\data\\")
