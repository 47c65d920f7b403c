"""The Python lines of docs/huggingface.md run as printed."""

from __future__ import annotations

import re

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from hub.test_grid import PAGE
from seqstate.text.tokenizer import Tokenizer
from seqstate.trained import ModelConfig, Trained


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = Tokenizer.train("byte", [])
    config = ModelConfig(state="gru(width=16)", energy="inner", vocab_size=257, boundary=256)
    torch.manual_seed(0)
    Trained(config.build(), words, config).save("model")
    shape = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 256, "eos_token_id": 256}
    GPT2LMHeadModel(GPT2Config(vocab_size=257, **shape, **ends)).save_pretrained("gpt2-folder")
    names = {"bos_token": "<doc>", "eos_token": "<doc>"}
    PreTrainedTokenizerFast(tokenizer_object=words.model, **names).save_pretrained("gpt2-folder")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
    assert "The old" in capsys.readouterr().out
