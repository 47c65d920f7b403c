"""Push to a Hub and load from it, over HTTP, on a Hub of our own: no network."""

from __future__ import annotations

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import hub as transformers_hub

from hub.local_hub import Hub
from hub.rungs import FUSION, hub_model, ids, label
from hub.test_words import saved


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    # transformers keeps the first it made, which asks a Hub that is gone for 46 seconds
    monkeypatch.setattr(transformers_hub, "_hf_api", None, raising=False)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("rung", [("lstm", "multi_hamming"), ("ngram", None), FUSION], ids=label)
def test_what_is_pushed_is_what_is_loaded(hub, rung, tmp_path):
    model = hub_model(rung)
    model.push_to_hub("someone/tiny", token="hf_none")
    assert {"config.json", "model.safetensors", "README.md"} <= set(hub.files)
    assert b"How to load" in hub.files["README.md"]
    hub.files["pytorch_model.bin"] = b"a pickle"
    hub.asked.clear()
    loaded = AutoModelForCausalLM.from_pretrained("someone/tiny", cache_dir=tmp_path)
    prompt = ids("a cab")[0]
    with torch.no_grad():
        assert torch.equal(loaded(prompt).logits, model(prompt).logits)
    assert not [path for path in hub.asked if ".bin" in path or ".py" in path]


def test_save_pretrained_pushes_when_asked_and_the_tokeniser_comes_along(hub, tmp_path):
    folder, ours = saved(tmp_path / "m", "char")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out", push_to_hub=True, repo_id="someone/tiny")
    hub.files["tokenizer.json"] = (folder / "tokenizer.json").read_bytes()
    assert hub.files["model.safetensors"] == (tmp_path / "out/model.safetensors").read_bytes()
    words = AutoTokenizer.from_pretrained("someone/tiny", cache_dir=tmp_path / "cache")
    assert words("a cab")["input_ids"] == [ours.boundary, *ours.encode("a cab")]
