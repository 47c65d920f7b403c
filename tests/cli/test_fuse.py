"""fuse end to end on a tiny text: n-gram, LSTM and cache become one model, saved, scored and written with."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil

import pytest
import torch

import seqstate as package
from seqstate.cli import main
from seqstate.core import record
from seqstate.trained import Trained

WORDS = "the old man and the sea said no word to the young boy who ran along the shore at night"
QUICK = ["--tokenizer", "char", "--steps", "12", "--batch-size", "4", "--context", "16"]
STATES = {"ngram": "ngram(order=3)", "lstm": "lstm(width=16)", "cache": "cache(window=50)"}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Sentences drawn at random (a text that goes in circles would be read in training already), in
    paragraphs with a name of their own, which nothing but the recent past can know.
    """
    draw, sentences = random.Random(0), []
    for number in range(360):
        if number % 6 == 0:
            name = "".join(draw.choices("bdfgjklmprtvwz", k=7)).capitalize()
        words = draw.choices(WORDS.split(), k=draw.randint(2, 6))
        sentences.append(" ".join([name, "and", *words]))
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("".join(f"{one}.\n" for one in sentences), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(book, tmp_path_factory):
    """The folder of the three models, trained once by the command line."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for name, state in STATES.items():
            options = ["--state", state, *QUICK, "--out", str(folder / name)]
            assert main(["train", str(book), *options]) == 0
    return folder


@pytest.fixture
def models(trained, tmp_path):
    """Copies that a test may spoil."""
    return [str(shutil.copytree(trained / name, tmp_path / name)) for name in STATES]


def logits(model):
    return model(torch.arange(10)[None] % model.vocab_size)[0]


def test_models_of_one_corpus_are_fused_evaluated_and_written_with(
    seqstate, models, book, tmp_path
):
    out = tmp_path / "fused"
    code, told, err = seqstate("fuse", *models, "--out", out, "--json")
    assert code == 0, err
    found = json.loads(told)
    names = [row["model"] for row in found["models"]]
    assert names == [*models, str(out)]
    *alone, fused = [row["nats_per_token"] for row in found["models"]]
    assert fused < min(alone)
    assert found["gain"] == pytest.approx(min(alone) - fused)
    assert found["taught_tokens"] == pytest.approx(2 * found["tested_tokens"], rel=0.01)
    assert {path.name for path in out.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "members",
    }  # fmt: skip

    written = [seqstate("generate", out, "--prompt", "The", "--tokens", 20) for _ in range(2)]
    assert written[0] == written[1]
    assert written[0][0] == 0
    code, told, err = seqstate("evaluate", out, book, "--json")
    assert code == 0, err
    assert json.loads(told)["tokens"] == len(book.read_text())
    code, told, err = seqstate("audit", out, book)
    assert code == 0, err
    assert "logit_rank" in told


def test_a_fusion_of_a_fusion_is_saved_and_loaded_to_the_bit(seqstate, models, tmp_path):
    inner = package.fuse(models[:2], weights="global", mix="linear")
    whole = package.fuse([inner, models[2]], weights="confidence", mix="geometric")
    whole.save(tmp_path / "whole")
    again = package.load(tmp_path / "whole")
    with torch.no_grad():
        assert torch.equal(logits(whole.model), logits(again.model))
    assert again.config == whole.config
    assert again.generate("The", tokens=9) == whole.generate("The", tokens=9)
    assert [member.sketch for member in again.members] == [m.sketch for m in whole.members]


def test_a_model_saved_over_another_does_not_take_its_sketch(models, tmp_path):
    found = Trained.load(models[0])
    assert found.sketch
    found.save(tmp_path / "model")
    dataclasses.replace(found, sketch="").save(tmp_path / "model")
    assert Trained.load(tmp_path / "model").sketch == ""


def test_text_of_ones_own_teaches_and_measures(seqstate, models, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("A letter from far away. " * 30)
    command = ["fuse", *models, "--on", other, "--test", other, "--weights", "global"]
    code, told, err = seqstate(*command, "--out", tmp_path / "fused")
    assert code == 0, err
    assert "best alone" in told
    assert (
        len(told.splitlines()) >= 1 + len(models) + 1 + 2
    )  # a head, the models, the mix, two sentences


def test_training_text_is_refused(seqstate, models, book, tmp_path):
    code, _, err = seqstate("fuse", *models, "--on", book, "--out", tmp_path / "fused")
    assert code == 2
    assert "was read by" in err
    assert err.count("\n") <= 5  # the stages, and one line
    assert not (tmp_path / "fused").exists()
    with pytest.raises(ValueError, match="was read by"):
        package.fuse([Trained.load(one) for one in models], book)


def test_models_that_cannot_tell_what_they_read_are_named(seqstate, models, tmp_path):
    (tmp_path / "cache" / "sketch.txt").unlink()
    code, _, err = seqstate("fuse", *models, "--out", tmp_path / "fused")
    assert code == 0
    assert f"{models[2]} does not say what it has read" in err


def test_another_tokenizer_is_refused(seqstate, models, book, tmp_path):
    words = ["--tokenizer", "word", *QUICK[2:]]
    assert seqstate("train", book, "--state", "ngram", *words, "--out", tmp_path / "w")[0] == 0
    code, _, err = seqstate("fuse", models[0], tmp_path / "w", "--out", tmp_path / "fused")
    assert code == 2
    assert f"w has another tokenizer than {models[0]}" in err
    assert not (tmp_path / "fused").exists()


def test_nothing_but_a_fusion_is_replaced_and_that_only_if_asked(seqstate, models, tmp_path):
    out = tmp_path / "fused"
    assert seqstate("fuse", *models[:2], "--out", out, "--weights", "global")[0] == 0
    before = (out / "config.json").read_text()
    code, _, err = seqstate("fuse", *models, "--out", out)
    assert (code, (out / "config.json").read_text()) == (2, before)
    assert "add --overwrite" in err
    assert seqstate("fuse", *models, "--out", out, "--overwrite")[0] == 0
    assert json.loads((out / "config.json").read_text())["members"] == 3
    code, _, err = seqstate("fuse", *models, "--out", models[0], "--overwrite")
    assert code == 2
    assert "something else than a fusion" in err
    assert Trained.load(models[0])


def test_an_interrupted_save_leaves_what_was_there(seqstate, models, tmp_path, monkeypatch):
    out = tmp_path / "fused"
    real, writes = record.write_json, []

    def failing(path, data):
        writes.append(path)
        if len(writes) == 3:  # the third member's, when two are whole
            raise KeyboardInterrupt
        return real(path, data)

    def interrupted(*options):
        writes.clear()
        with monkeypatch.context() as patch:
            patch.setattr("seqstate.trained.write_json", failing)
            code = seqstate("fuse", *models, "--out", out, *options)[0]
        assert (code, len(writes)) == (130, 3)

    there = set(tmp_path.iterdir())
    interrupted()
    assert set(tmp_path.iterdir()) == there
    assert seqstate("fuse", *models[:2], "--out", out)[0] == 0
    there = set(tmp_path.iterdir())
    interrupted("--overwrite")
    assert set(tmp_path.iterdir()) == there
    assert len(Trained.load(out).members) == 2


def test_without_held_out_text_one_is_asked_for(seqstate, models, book, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "empty"))
    code, _, err = seqstate("fuse", *models, "--out", tmp_path / "fused")
    assert code == 2
    assert "no longer in the cache; give held-out text" in err
    with pytest.raises(ValueError, match="too few"):
        package.fuse(models, "short\ntext")


def test_a_product_over_many_words_learns_from_as_much_as_fits(
    seqstate, models, tmp_path, monkeypatch
):
    size = Trained.load(models[0]).tokenizer.vocab_size
    monkeypatch.setattr("seqstate.fusing.MOST", 200 * size * 2)
    taught = []
    for mix in ("geometric", "linear"):
        command = ["fuse", *models[:2], "--mix", mix, "--out", tmp_path / mix, "--json"]
        taught.append(json.loads(seqstate(*command)[1])["taught_tokens"])
    assert taught[0] == 200 < taught[1]
