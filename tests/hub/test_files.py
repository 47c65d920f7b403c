"""Folders and repositories: saved and loaded exactly, by transformers and by us, never through a pickle."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import seqstate
from hub.rungs import TOKENIZER, described, hub_model, ids, label, language_model, rungs
from seqstate.hub import SeqstateConfig, SeqstateForCausalLM
from seqstate.trained import Trained

PROMPT = ids("a deaf bee")[0]
RUNG = ("lstm", "multi_hamming")


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Every tensor, buffers that no file holds included, and what they say."""
    tensors = [dict([*m.named_parameters(), *m.named_buffers()]) for m in (one, other)]
    assert tensors[0].keys() == tensors[1].keys()
    with torch.no_grad():
        said = [module(PROMPT)[0] for module in (one, other)]
    return torch.equal(*said) and all(
        torch.equal(tensor, tensors[1][name]) and tensor.dtype == tensors[1][name].dtype
        for name, tensor in tensors[0].items()
    )


@pytest.fixture
def folder(tmp_path):
    """A folder as `seqstate train` leaves it."""
    trained = Trained(language_model(*RUNG), TOKENIZER, described(*RUNG))
    return trained.save(tmp_path / "trained")


@pytest.mark.filterwarnings("ignore:.*did not converge:UserWarning")
@pytest.mark.parametrize("rung", rungs(), ids=label)
def test_save_and_load_are_exact_for_transformers_and_for_us(rung, tmp_path):
    model = hub_model(rung)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    model.save_pretrained(tmp_path)
    for _ in range(2):  # the second time what was loaded is saved
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
        assert type(loaded) is SeqstateForCausalLM
        assert same(loaded.lm, model.lm)
        loaded.save_pretrained(tmp_path)
    assert same(seqstate.load(tmp_path).model, model.lm)


def test_a_folder_of_ours_loads_through_the_auto_classes(folder):
    config = AutoConfig.from_pretrained(folder)
    assert (config.state, config.energy, config.corpus) == (
        "lstm(width=16)",
        "multi_hamming",
        "tiny-0123",
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert same(model.lm, seqstate.load(folder).model)
    words = AutoTokenizer.from_pretrained(folder)
    assert words("a cab")["input_ids"] == [0, *TOKENIZER.encode("a cab")]
    fresh = AutoModelForCausalLM.from_config(config)
    assert type(fresh.lm) is type(model.lm)
    assert fresh.lm.vocab_size == model.lm.vocab_size


def test_tied_weights_are_stored_once_and_tied_again(tmp_path):
    config = SeqstateConfig(state="rnn(width=16)", energy="inner", vocab_size=11)
    model = SeqstateForCausalLM(config)
    assert model.lm.embedding.weight is model.lm.head.weight
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm.embedding.weight is loaded.lm.head.weight
    again = SeqstateForCausalLM(config)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "model.safetensors")
    assert len(stored) == len(model.state_dict()) - 1
    found = again.load_state_dict(stored, strict=False)  # as Trainer resumes
    assert not found.missing_keys and not found.unexpected_keys
    assert torch.equal(again.lm.head.weight, model.lm.head.weight)


def test_the_card_says_what_it_is_its_numbers_and_how_to_load_it(tmp_path):
    model = hub_model(RUNG)
    model.config.numbers = [["bits_per_byte", 1.8312, 0.02, "bit/byte", 2048]]
    model.save_pretrained(tmp_path)
    model.config.numbers = []
    card = (tmp_path / "README.md").read_text()
    assert "`tiny-0123`" in card and "lstm(width=16) + multi_hamming" in card
    assert "| bits_per_byte | 1.8312 | 0.02 | bit/byte | 2,048 |" in card
    assert "AutoModelForCausalLM.from_pretrained" in card
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card
    (tmp_path / "README.md").write_text("mine")
    loaded.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_numbers_of_a_run_reach_the_card(folder, tmp_path):
    from report.builder import fake_run

    fake_run().save(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "hub")
    reading = fake_run().readings[0]
    assert f"| {reading.name} | {reading.value:.5g} |" in (tmp_path / "hub/README.md").read_text()


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_pickles_are_never_opened(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="cannot load the model"):
        AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="never loaded"):
        AutoModelForCausalLM.from_pretrained(folder, use_safetensors=False)
    assert not Path("exploded").exists()


def test_dtype_and_device_are_honoured_and_the_rest_is_refused(folder):
    load = AutoModelForCausalLM.from_pretrained
    for asked in (torch.bfloat16, "bfloat16"):
        model = load(folder, dtype=asked, device_map="auto")
        assert model.dtype == torch.bfloat16
        assert torch.isfinite(model(PROMPT).logits).all()
    assert load(folder, dtype="auto", device_map={"": "cpu"}).dtype == torch.float32
    assert load(folder, use_cache=False).config.use_cache is False
    model, info = load(folder, output_loading_info=True)
    assert isinstance(model, SeqstateForCausalLM) and info == {}
    for options, words in [
        ({"state": "rnn"}, "cannot become 'rnn'"),
        ({"dtype": "int8"}, "no floating type"),
        ({"device_map": {"lm": 0, "head": 1}}, "one device"),
        ({"quantization_config": {"bits": 4}}, "not supported"),
        ({"no_such_option": 3}, "no option 'no_such_option'"),
    ]:
        with pytest.raises(ValueError, match=words):
            SeqstateForCausalLM.from_pretrained(folder, **options)
    with pytest.raises(ValueError, match="is not a trained model"):
        SeqstateForCausalLM.from_pretrained(folder.parent)


def test_a_repository_in_the_hubs_layout_loads_by_its_name_offline(folder, tmp_path):
    cache, commit = tmp_path / "cache", "0" * 40
    place = cache / "models--someone--tiny"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    model = AutoModelForCausalLM.from_pretrained("someone/tiny", cache_dir=cache)
    assert same(model.lm, seqstate.load(folder).model)
    words = AutoTokenizer.from_pretrained("someone/tiny", cache_dir=cache)
    assert words("a")["input_ids"][0] == 0


def test_a_saved_folder_names_the_code_that_reads_it(folder, tmp_path):
    """With trust_remote_code a program that has not imported seqstate loads it too."""
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "hub")
    shim = (tmp_path / "hub" / "seqstate_hub.py").read_text()
    found: dict = {}
    exec(compile(shim, "seqstate_hub.py", "exec"), found)
    names = json.loads((tmp_path / "hub" / "config.json").read_text())["auto_map"]
    assert {name: found[path.split(".")[1]] for name, path in names.items()} == {
        "AutoConfig": SeqstateConfig,
        "AutoModelForCausalLM": SeqstateForCausalLM,
    }
