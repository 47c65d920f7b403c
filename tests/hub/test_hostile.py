"""Folders by strangers: nothing in them is run, what is wrong with them is one line."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import seqstate
from hub.rungs import TOKENIZER, described, ids, language_model
from hub.test_files import Bomb
from seqstate.cli import main
from seqstate.trained import Trained

RUNG = ("lstm", "inner")


@pytest.fixture
def folder(tmp_path):
    return Trained(language_model(*RUNG), TOKENIZER, described(*RUNG)).save(tmp_path / "model")


def header(text: str, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + text.encode()


def entry(**changes) -> str:
    told = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return json.dumps({"head.weight": told})


WEIGHTS = {
    "a pickle under another name": pickle.dumps(Bomb()),
    "a header larger than memory": header("{}", 2**62),
    "a header that is no JSON": header("{'a': 1}"),
    "offsets beyond the file": header(entry(data_offsets=[0, 1 << 40])),
    "a negative shape": header(entry(shape=[-1])) + b"0000",
    "nothing": b"",
}
CONFIGS = {
    "a list": "[]",
    "a bottomless list": "[" * 100_000,
    "half of it": '{"format": 1',
    "no fields": '{"format": 1}',
    "a number for a state": '{"format": 1, "state": 3, "energy": null, "vocab_size": 11}',
    "a function for a state": '{"format": 1, "state": "os.system", "energy": null, "vocab_size": 11}',
    "a call for a state": '{"format": 1, "state": "exec(\'1\')", "energy": null, "vocab_size": 11}',
    "a huge model": '{"format": 1, "state": "lstm(width=99999999)", "energy": null, "vocab_size": 11}',
    "members that are not there": '{"format": 1, "members": 3}',
}
BROKEN = [("model.safetensors", one) for one in WEIGHTS] + [("config.json", one) for one in CONFIGS]


@pytest.mark.parametrize(("name", "case"), BROKEN)
def test_a_broken_file_is_refused_in_one_line(folder, name, case, capsys):
    content = WEIGHTS[case] if name == "model.safetensors" else CONFIGS[case].encode()
    (folder / name).write_bytes(content)
    assert main(["generate", str(folder), "--tokens", "1"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("seqstate: error: cannot load the model in")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "checkpoint.pkl"])
def test_a_pickle_beside_a_model_is_left_alone(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    prompt = ids("a cab")[0]
    with torch.no_grad():
        ours = seqstate.load(folder).model(prompt)[0]
        theirs = AutoModelForCausalLM.from_pretrained(folder)(prompt).logits
    assert torch.equal(ours, theirs)
    AutoTokenizer.from_pretrained(folder)
    assert not Path("exploded").exists()


def test_a_hugging_face_folder_of_pickles_is_refused_unopened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=11, hidden_size=8, **shape))
    model.save_pretrained(tmp_path / "llama")
    (tmp_path / "llama" / "model.safetensors").unlink()
    (tmp_path / "llama" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "text.txt").write_text("a cab")
    capsys.readouterr()  # what saving the model told
    assert main(["evaluate", "hf:llama", "text.txt"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "cannot load the Hugging Face model" in err
    assert not Path("exploded").exists()


ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "seqstate":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
words = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])
print(words("a cab")["input_ids"])
try:
    AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
except ImportError as error:
    print(error)
"""


def test_where_seqstate_is_not_installed_the_tokeniser_loads_and_the_model_says_what_to_install(
    folder, tmp_path
):
    main(["export", str(folder), "--hf", str(tmp_path / "shared")])
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "shared"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    tokens, *told = done.stdout.splitlines()
    assert json.loads(tokens) == [0, *TOKENIZER.encode("a cab").tolist()], done.stderr
    assert "pip install seqstate" in " ".join(told)
