"""Masked words: what is hidden, what it costs, vectors of any text, and refusals to write."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from laws.grid import awake

import seqstate
from seqstate.core.model import IGNORE
from seqstate.core.record import RunConfig
from seqstate.masked import Masked
from seqstate.masking import MaskedWindows, build_masked, pseudo_likelihood, validate_masked
from seqstate.text.tokenizer import Tokenizer
from seqstate.train import fit
from seqstate.trained import ModelConfig, Trained

IDS = np.random.default_rng(0).integers(7, size=900).astype(np.uint16)
STATE = "attention(width=16, layers=2, heads=2, window=0)"


def model(vocab_size=7):
    torch.manual_seed(0)
    return build_masked(STATE, "inner", vocab_size=vocab_size)


def test_hidden_words_are_asked_for_and_no_others():
    reader = MaskedWindows(IDS, rows=64, context=50, seed=3, vocab_size=7)
    tokens, targets, fresh = reader.batch(5)
    plain, _, _ = reader.windows.batch(5)
    asked = targets != IGNORE
    assert fresh
    assert np.array_equal(targets[asked], plain[asked])
    assert np.array_equal(tokens[~asked], plain[~asked])
    assert 0.12 < asked.mean() < 0.18
    assert asked.any(1).all()
    masked = (tokens == 7)[asked].mean()
    kept = (tokens == plain)[asked].mean()
    assert 0.72 < masked < 0.88
    assert 0.05 < kept < 0.2  # a random token is the right one now and then
    again = MaskedWindows(IDS, rows=64, context=50, seed=3, vocab_size=7).batch(5)
    assert all(np.array_equal(a, b) for a, b in zip(again, (tokens, targets, fresh), strict=True))
    hidden, wanted, _ = MaskedWindows(
        IDS, rows=64, context=50, seed=3, vocab_size=7, plain=True
    ).batch(5)
    assert (hidden[wanted != IGNORE] == 7).all()


def test_each_token_of_the_pseudo_likelihood_is_masked_alone():
    reader, ids = awake(model(), 0.2), IDS[:40]
    nats, perplexity = pseudo_likelihood(reader, ids, context=40, scored=1000)
    wanted = []
    for place in range(1, 40):
        shown = torch.from_numpy(ids[None].astype(np.int64))
        word = int(shown[0, place])
        shown[0, place] = reader.mask_id
        with torch.no_grad():
            wanted.append(-float(reader(shown)[0, place].log_softmax(-1)[word]))
    assert nats.name == "pseudo_nats_per_token"
    assert nats.count == 39
    assert math.isclose(nats.value, np.mean(wanted), rel_tol=1e-5)
    assert math.isclose(perplexity.value, math.exp(nats.value), rel_tol=1e-9)


def test_what_both_sides_settle_is_learnt():
    """Every other token is the larger of its neighbours: one side alone leaves it open."""
    rng = np.random.default_rng(1)
    ids = rng.integers(3, size=6001)
    ids[1:-1:2] = 3 + np.maximum(ids[0:-2:2], ids[2::2])
    settled = RunConfig(
        state=STATE, energy="inner", corpus="t", steps=150, batch_size=16, context=17, lr=1e-2,
        eval_every=150,
    )  # fmt: skip
    torch.manual_seed(0)
    reader = build_masked(settled.state, settled.energy, vocab_size=6)
    fit(reader, ids, ids[:600], settled)
    assert validate_masked(reader, ids[:600], context=17) < math.log(6) - 0.5
    asked, right = torch.from_numpy(ids[:800].reshape(100, 8)), []
    for place in (1, 3, 5):
        shown = asked.clone()
        shown[:, place] = reader.mask_id
        with torch.no_grad():
            guesses = reader(shown)[:, place].argmax(-1)
        right.append((guesses == asked[:, place]).double().mean())
    assert np.mean(right) > 0.9  # the best guess from one side is right 7 times in 9


class Killed(BaseException):
    pass


def test_a_killed_run_resumed_ends_with_the_same_bits(tmp_path):
    settled = RunConfig(
        state=STATE, energy="inner", corpus="t", steps=10, batch_size=2, context=9, dropout=0.1
    )

    def train(folder, **options):
        torch.manual_seed(0)
        reader = build_masked(settled.state, settled.energy, vocab_size=7, dropout=0.1)
        fit(reader, IDS, IDS[:200], settled, folder=folder, checkpoint_seconds=0.0, **options)
        return reader

    def watch(progress):
        if progress.step == 6:
            raise Killed

    straight = train(tmp_path / "straight")
    with pytest.raises(Killed):
        train(tmp_path / "killed", watch=watch)
    resumed = train(tmp_path / "killed", resume=True)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def reader():
    text = "the sea and the shore and the old man at sea. " * 4
    tokenizer = Tokenizer.train("char", [text])
    size = tokenizer.vocab_size
    config = ModelConfig(STATE, "inner", size, boundary=tokenizer.boundary, context=12)
    return Masked(awake(model(size), 0.2), tokenizer, config)


def test_vectors_of_a_text_are_one_a_token_and_see_both_sides(reader):
    hidden = reader.hidden("the sea")
    assert hidden.shape == (7, 16)
    ids = torch.tensor([[0, *reader.tokenizer.encode("the sea").tolist()]])
    with torch.no_grad():
        torch.testing.assert_close(hidden, reader.model.hidden(ids)[0, 1:])
    assert (reader.hidden("the see")[0] - hidden[0]).abs().max() > 1e-6
    assert reader.hidden("").shape == (0, 16)


def test_a_long_text_is_read_in_windows_each_vector_from_the_middle_of_one(reader):
    text = "the old man and the sea at the shore and"
    hidden = reader.hidden(text)
    ids = torch.tensor([0, *reader.tokenizer.encode(text).tolist()])
    with torch.no_grad():
        for place in range(1, len(ids)):
            starts = [*range(0, len(ids) - 12, 6), len(ids) - 12]
            best = min(starts, key=lambda start: abs(place - start - 5.5))
            wanted = reader.model.hidden(ids[None, best : best + 12])[0, place - best]
            torch.testing.assert_close(hidden[place - 1], wanted)


def test_a_folder_comes_back_and_what_writes_refuses_it(reader, tmp_path):
    reader.save(tmp_path / "reader")
    again = seqstate.load(tmp_path / "reader")
    assert isinstance(again, Masked)
    assert torch.equal(again.hidden("the sea"), reader.hidden("the sea"))
    with pytest.raises(ValueError, match="no next word to write") as refusal:
        Trained.load(tmp_path / "reader")
    assert "\n" not in str(refusal.value)


def test_states_that_read_one_way_or_have_no_vectors_are_refused():
    for state, energy in (("lstm", "inner"), ("ngram(order=2)", None)):
        with pytest.raises(ValueError, match="states that read both ways: attention"):
            build_masked(state, energy, vocab_size=7)


def test_models_that_write_can_be_probed_too():
    text = "some words of a text to be learnt from\n" * 40
    trained = seqstate.fit(text, state="gru(width=8)", tokenizer="char", steps=1)
    hidden = trained.hidden("some")
    assert hidden.shape == (4, 8)
    assert torch.equal(trained.hidden("some words")[:4], hidden)
    counted = seqstate.fit(text, state="ngram(order=2)", tokenizer="char")
    with pytest.raises(ValueError, match="no hidden vectors"):
        counted.hidden("some")
