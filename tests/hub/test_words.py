"""Our tokenisers in transformers, pipelines, and how the Auto classes learn of us."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

import seqstate
from hub.rungs import TEXT
from seqstate.text.tokenizer import Tokenizer
from seqstate.trained import ModelConfig, Trained

PROBES = [TEXT, "A <doc> can't\n\n\tcost 12,345: naïve 你好 👩‍🚀 <unk> end ", " a", "<doc>", ""]


def saved(folder, kind: str, size: int | None = None):
    words = Tokenizer.train(kind, [TEXT, PROBES[1] * 2], size)
    config = ModelConfig(
        state="lstm(width=16)",
        energy="inner",
        vocab_size=words.vocab_size,
        boundary=words.boundary,
    )
    torch.manual_seed(0)
    return Trained(config.build().eval(), words, config).save(folder), words


@pytest.mark.parametrize(
    ("kind", "size"), [("byte", None), ("char", None), ("word", 60), ("bpe", 280)]
)
def test_ids_and_text_are_ours_before_and_after_saving(tmp_path, kind, size):
    folder, ours = saved(tmp_path / "m", kind, size)
    theirs = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "n")
    theirs.save_pretrained(tmp_path / "n")
    again = AutoTokenizer.from_pretrained(tmp_path / "n")
    ours_again = seqstate.load(tmp_path / "n").tokenizer
    for text in PROBES:
        ids = ours.encode(text).tolist()
        for words in (theirs, again):
            assert words(text)["input_ids"] == [ours.boundary, *ids]
            assert words(text, add_special_tokens=False)["input_ids"] == ids
            assert words.decode(ids) == ours.decode(ids)
            if ours.unknown not in ids:  # it counts as a special token there
                shown = words.decode([ours.boundary, *ids], skip_special_tokens=True)
                assert shown == ours.decode(ids)
        assert ours_again.encode(text).tolist() == ids
    assert len(theirs) == len(again) == ours.vocab_size == ours_again.vocab_size
    for words in (theirs, again):
        batch = words(["a cab", "fe"], padding=True, return_tensors="pt")
        assert set(batch) == {"input_ids", "attention_mask"}
        assert batch["attention_mask"][1].tolist()[-1] == 1  # padded on the left


def test_a_pipeline_writes_what_we_write(tmp_path):
    folder, _ = saved(tmp_path / "m", "char")
    ours = seqstate.load(folder)
    prompts = ["a cab", "bad cafe, a"]
    wanted = ours.generate(prompts, tokens=9, temperature=0)
    writer = pipeline("text-generation", model=str(folder), device="cpu")
    asked = {"max_new_tokens": 9, "do_sample": False, "return_full_text": False}
    found = writer(prompts, batch_size=2, **asked)
    assert [one[0]["generated_text"] for one in found] == wanted
    assert writer(prompts[0], **asked)[0]["generated_text"] == wanted[0]


def test_generation_ends_with_the_document(tmp_path):
    folder, words = saved(tmp_path / "m", "char")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm.head.bias[words.boundary] = 100.0
    prompt = torch.tensor([[words.boundary, *words.encode("a").tolist()]])
    assert model.generate(prompt, max_new_tokens=9).tolist() == [
        [*prompt[0].tolist(), words.boundary]
    ]


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = "import sys, seqstate; print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert run(code).strip() == ""


def test_the_auto_classes_learn_of_us_when_they_were_there_first(tmp_path):
    folder, _ = saved(tmp_path / "m", "char")
    code = f"""
from transformers import AutoConfig
import seqstate
print(type(AutoConfig.from_pretrained({str(folder)!r})).__name__)
"""
    assert run(code).split() == ["SeqstateConfig"]
