"""Commands on a folder that Hugging Face's save_pretrained wrote."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import seqstate as package
from seqstate.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hf") / "llama"
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = LlamaConfig(vocab_size=257, hidden_size=16, max_position_embeddings=64, **shape)
    LlamaForCausalLM(config).save_pretrained(place)
    words = Tokenizer.train("byte", []).model
    names = {"bos_token": "<doc>", "eos_token": "<doc>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(place)
    return place


def test_evaluate_gives_the_numbers_of_from_hf(seqstate, folder, book, tmp_path):
    text = book.read_text()[:600]
    (tmp_path / "short.txt").write_text(text)
    code, out, err = seqstate("evaluate", f"hf:{folder}", tmp_path / "short.txt", "--json")
    assert code == 0, err
    found = json.loads(out)
    model = LlamaForCausalLM.from_pretrained(folder)
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    wanted = package.from_hf(model, words).evaluate(text)
    assert found["bits_per_byte"] == pytest.approx(wanted.bits_per_byte, abs=1e-6)
    assert found["bytes"] == len(text.encode()) == found["tokens"]
    assert 7 < found["bits_per_byte"] < 9  # an untrained model of 257 tokens: log2(257) = 8.0


def test_generate_and_audit_take_the_same_name(seqstate, folder, book):
    asked = ("--prompt", "The", "--tokens", 5, "--temperature", 0)
    code, out, err = seqstate("generate", f"hf:{folder}", *asked)
    assert code == 0, err
    assert out.startswith("The")
    code, out, err = seqstate(
        "audit", f"hf:{folder}", book, "--instruments", "logit_rank", "--json"
    )
    assert code == 0, err
    ranks = {row["name"]: row["value"] for row in json.loads(out)}
    assert ranks["logit_rank"] == ranks["rank_bound"] == 16


@pytest.mark.parametrize(
    ("name", "words"),
    [("hf:nowhere", "is not a folder"), ("hf:EMPTY", "cannot load the Hugging Face model")],
)
def test_what_is_no_model_is_refused_in_one_line(seqstate, book, tmp_path, name, words):
    (tmp_path / "EMPTY").mkdir()
    code, _, err = seqstate("evaluate", name.replace("EMPTY", str(tmp_path / "EMPTY")), book)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_of_ours_needs_no_hf(seqstate, book, tmp_path):
    quick = ("--steps", 2, "--tokenizer", "byte", "--batch-size", 2, "--context", 8)
    code, _, err = seqstate(
        "train", book, "--state", "rnn(width=8)", *quick, "--out", tmp_path / "m"
    )
    assert code == 0, err
    code, _, err = seqstate("evaluate", f"hf:{tmp_path / 'm'}", book)
    assert code == 2
    assert "leave out hf:" in err
