"""Models of pairs: trained on targets alone, scored token by token, compared by what they write."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from laws.grid import build_language_model

import seqstate
from seqstate.core.model import IGNORE
from seqstate.core.record import RunConfig
from seqstate.model import build_model
from seqstate.text.pair_batches import PairBatches, Pairs
from seqstate.train import fit
from seqstate.translate import evaluate_pairs, exact_match, validate_pairs

VOCAB, END, TAB = 9, 0, 1


def reversals(count, seed=0, longest=5):
    """Sources of tokens 2 to 8 with their reversals, as ids."""
    rng, ids = np.random.default_rng(seed), []
    for _ in range(count):
        word = rng.integers(2, VOCAB, size=rng.integers(1, longest + 1))
        ids += [END, *word, TAB, *word[::-1]]
    return np.array(ids, np.uint16)


def config(state, **changes):
    settled = dict(
        state=state, energy="inner", corpus="test", steps=10, batch_size=8, context=32, eval_every=5
    )
    return RunConfig(**{**settled, **changes})


def fresh(settled):
    torch.manual_seed(settled.seed)
    return build_model(settled.state, settled.energy, vocab_size=VOCAB, boundary=END, separator=TAB)


@pytest.mark.parametrize("attention", ["none", "inner"])
def test_a_tiny_set_of_reversals_is_learnt_to_the_last_one(attention):
    ids = reversals(24, longest=4)
    settled = config(
        f"seq2seq(width=48, attention={attention!r})", steps=120, lr=1.5e-2, eval_every=120
    )
    model = fresh(settled)
    fit(model, ids, ids, settled, boundary=END, separator=TAB)
    assert exact_match(model, Pairs.find(ids, END, TAB), 24).value == 1.0


@pytest.mark.parametrize("state", ["seq2seq", "lstm", "ngram(order=3)", "attention(layers=2)"])
def test_nats_are_those_of_the_targets_read_one_by_one(state):
    model = build_language_model(state, None if state.startswith("ngram") else "inner")
    ids = np.minimum(reversals(11), 10)
    pairs = Pairs.find(ids, END, TAB)
    found, wanted = evaluate_pairs(model, pairs, 30, written=0), []
    for index in range(len(pairs)):
        row = [*pairs.source(index), *pairs.target(index), END]
        with torch.no_grad():
            logits, _ = model(torch.tensor([row[:-1]]))
        log = logits[0].log_softmax(-1)
        first = len(pairs.source(index)) - 1
        wanted += [-float(log[t, row[t + 1]]) for t in range(first, len(row) - 1)]
    np.testing.assert_allclose(found.nats, wanted, atol=2e-5)
    assert math.isclose(validate_pairs(model, pairs), np.mean(wanted), rel_tol=1e-4)
    assert math.isclose(found.bits_per_byte, np.sum(wanted) / math.log(2) / 30, rel_tol=1e-4)
    aligned = found.stretch(0, len(ids))
    np.testing.assert_allclose(aligned[aligned != 0], wanted, atol=2e-5)
    np.testing.assert_array_equal(found.stretch(7, 9), aligned[7:16])


def greedy(model, prompt, tokens):
    """The likeliest token each time, the whole prefix read again for each."""
    row = list(prompt)
    for _ in range(tokens):
        with torch.no_grad():
            row.append(int(model(torch.tensor([row]))[0][0, -1].argmax()))
        if row[-1] == END:
            break
    return row[len(prompt) :]


def test_exact_match_counts_whole_targets_that_end_where_they_should():
    ids = reversals(60, longest=3)
    settled = config("seq2seq(width=16)", steps=30, lr=1e-2)
    model = fresh(settled)
    fit(model, ids, ids, settled, boundary=END, separator=TAB)
    pairs = Pairs.find(ids, END, TAB)
    right = [
        greedy(model, pairs.source(i), len(pairs.target(i)) + 1) == [*pairs.target(i), END]
        for i in range(len(pairs))
    ]
    assert 0 < sum(right) < len(right)
    found = exact_match(model, pairs, 60)
    assert found.value == np.mean(right)
    assert found.count == 60


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_gradient_is_that_of_the_mean_over_what_was_asked(accumulate):
    ids = reversals(60)
    settled = config("gru(width=16)", steps=1, lr=1e-3, clip=0.0, accumulate=accumulate)
    model = fresh(settled)
    twin = fresh(settled)
    shape = {"tokens": settled.tokens_per_step, "parts": accumulate}
    pairs = Pairs.find(ids, END, TAB)
    tokens, targets, _ = PairBatches(pairs, **shape, seed=0, unasked=IGNORE).batch(0)
    told = []
    fit(model, ids, ids, settled, boundary=END, separator=TAB, watch=told.append)
    with torch.no_grad():
        parts = zip(np.split(tokens, accumulate), np.split(targets, accumulate), strict=True)
        losses = [
            float(twin.nll(torch.from_numpy(t), torch.from_numpy(w))[0].sum() / (w >= 0).sum())
            for t, w in parts
        ]
    assert math.isclose(told[-1].train_nats, np.mean(losses), rel_tol=1e-5)


class Killed(BaseException):
    pass


def test_a_killed_run_resumed_ends_with_the_same_bits(tmp_path):
    settled = config("seq2seq(width=16)", dropout=0.1, accumulate=2)

    def train(folder, **options):
        model = fresh(settled)
        fit(
            model, reversals(80), reversals(20, 1), settled, folder=folder, boundary=END,
            separator=TAB, checkpoint_seconds=0.0, **options,
        )  # fmt: skip
        return model

    def watch(progress):
        if progress.step == 7:
            raise Killed

    straight = train(tmp_path / "straight")
    with pytest.raises(Killed):
        train(tmp_path / "killed", watch=watch)
    resumed = train(tmp_path / "killed", resume=True)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_from_a_file_to_targets_in_three_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "cache"))
    words = ["".join(chr(97 + (i * k) % 26) for k in range(1, 6)) for i in range(120)]
    (tmp_path / "up.jsonl").write_text(
        "".join(json.dumps({"low": word, "up": word.upper()}) + "\n" for word in words)
    )
    training = {"steps": 5, "batch_size": 8, "context": 16}
    trained = seqstate.fit(
        tmp_path / "up.jsonl",
        state="seq2seq(width=16)",
        tokenizer="char",
        pairs="low,up",
        **training,
    )
    trained.save(tmp_path / "model")
    again = seqstate.load(tmp_path / "model")
    sources = ["abc", "a", "gfedcba"]
    targets = trained.translate(sources, tokens=9)
    assert again.translate(sources, tokens=9) == targets
    assert [trained.translate([one], tokens=9)[0] for one in sources] == targets
    with pytest.raises(ValueError, match="has a tab"):
        trained.translate(["a\tb"])
    text = seqstate.fit("some plain text\n" * 80, state="gru(width=8)", tokenizer="char", steps=1)
    with pytest.raises(ValueError, match="not on pairs"):
        text.translate(["a"])
