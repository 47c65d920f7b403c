"""The verdicts of the Hamming RNN's claims on made-up records, and how a duel is drawn up."""

from __future__ import annotations

import pytest

from seqstate.claims._duel import duel
from seqstate.claims.hamming_rnn_language import BASE, VARIANTS, HammingRNNLanguage
from seqstate.claims.hamming_rnn_recall import SIZED, TASKS, HammingRNNRecall
from seqstate.core import registry
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.core.state import state_bytes


def record(trial, loss, seconds=1.0):
    """loss None: the run diverged."""
    if loss is None:
        return TrialRecord(trial.settings, [], seconds)
    readings = [Reading("loss", loss, "nat"), Reading("cpu_seconds", seconds, "s")]
    return TrialRecord(trial.settings, readings, seconds)


def drawn(done):
    sides = {"ours": {"state": "a"}, "theirs": {"state": "b"}}
    return duel(sides, done, rates=(0.1, 0.2), tuning_steps=10, steps=60, seeds=2, seconds=1.0)


def test_the_other_side_trains_for_as_long_and_each_at_its_best_rate():
    losses = {("ours", 0.1): 3.0, ("ours", 0.2): 2.0, ("theirs", 0.1): 1.0, ("theirs", 0.2): None}
    done = {}
    for trial in drawn({}):
        assert trial.settings["seed"] == 0
        side = trial.settings["side"]
        one = record(trial, losses[side, trial.settings["lr"]], 3.0 if side == "ours" else 1.0)
        done[trial.key] = one
    later = [trial.settings for trial in drawn(done) if trial.key not in done]
    assert [(s["side"], s["seed"], s["lr"], s["steps"]) for s in later] == [
        ("ours", 1, 0.2, 60), ("theirs", 1, 0.1, 180), ("ours", 2, 0.2, 60), ("theirs", 2, 0.1, 180),
    ]  # fmt: skip


def test_a_side_that_only_diverges_ends_the_duel():
    done = {t.key: record(t, 1.0 if t.settings["side"] == "ours" else None) for t in drawn({})}
    assert all(trial.key in done for trial in drawn(done))


def final(side, seed, task="", steps=10, **values):
    settings = {"state": f"{side}()", "corpus": "book", "side": side, "stage": "final"}
    settings |= {"seed": seed, "lr": 0.01, "steps": steps, "task": task}
    return TrialRecord(settings, [Reading(name, value, "1") for name, value in values.items()], 1.0)


def recalled(ours, theirs):
    """Records of pairs recalled by task and seed; what is not given is a guess."""
    common = {"state_bytes": 8, "parameters": 9, "cpu_seconds": 1.0}
    found = []
    for task, pairs in TASKS.items():
        for side, most in (("ours", ours), ("theirs", theirs)):
            values = most.get(pairs, [1.0] * len(next(iter(most.values()))))
            found += [
                final(side, seed, task, accuracy=value / pairs, **common)
                for seed, value in enumerate(values, 1)
            ]
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "holds"),
    [
        ({6: [4.5, 4.0, 3.0]}, {2: [2.0, 2.0, 2.0]}, True),
        ({6: [4.5, 4.0, 2.9]}, {2: [2.0, 2.0, 2.0]}, False),  # one seed below 1.5 times
        (
            {4: [3.9] * 3, 6: [1.0, 5.0, 1.0]},
            {3: [2.5] * 3, 4: [1.2] * 3},
            True,
        ),  # each at its best
        ({6: [4.5, 4.0, 4.0]}, {2: [2.0, 2.0, 1.4]}, None),  # the LSTM has not learnt
        ({6: [4.5, 4.0]}, {2: [2.0, 2.0]}, None),
    ],
)
def test_recall_is_judged_seed_by_seed_where_each_recalls_most(ours, theirs, holds):
    assert HammingRNNRecall().verdict(recalled(ours, theirs)).holds is holds


def test_both_states_of_the_recall_claim_have_the_same_bytes():
    sizes = {state_bytes(registry.build("states", s).init_state(1)) for s in SIZED.values()}
    assert sizes == {1024}


def read(ours, theirs):
    common = {"parameters": 9, "cpu_seconds": 1.0}
    pairs = [("ours", ours), ("theirs", theirs)]
    return [
        final(side, seed, loss=value, **common)
        for side, values in pairs
        for seed, value in enumerate(values, 1)
    ]


def test_language_is_judged_by_the_mean():
    claim = HammingRNNLanguage()
    theirs = (1.8, 1.8, 1.9, 1.8, 1.8)
    assert claim.verdict(read((1.7, 1.8, 1.9, 1.9, 1.7), theirs)).holds is True
    assert claim.verdict(read((1.9, 1.8, 1.9, 1.9, 1.7), theirs)).holds is False
    assert claim.verdict(read((1.0, 1.0, 1.0, 1.0), theirs[:4])).holds is None
    assert claim.verdict([]).holds is None


def test_variants_change_options_the_state_has():
    known = registry.options(registry.find("states", "hamming_rnn"))
    assert set(BASE) == set(known) - {"width", "dropout"}  # short training: nothing to drop
    for changed in VARIANTS:
        assert len(changed) <= 1 or changed["compare"] == "none"
        assert all(BASE[name] != value for name, value in changed.items())


@pytest.mark.parametrize("claim", [HammingRNNLanguage(), HammingRNNRecall()])
def test_a_small_effort_is_small(claim):
    trials = claim.runs(["book"][: claim.texts], "small", {})
    assert all(trial.settings["steps"] <= 8 for trial in trials)
