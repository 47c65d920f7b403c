"""The verdict of the claim on lengths, on made-up records; how its rates are chosen; one trial."""

import random

import pytest

from seqstate.claims.lengths_decide import KINDS, RATES, LengthsDecide
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.text.store import prepare

SHOWN = ("query_length", "key_length", "key_length_spread", "graph_sharpness")


def record(kind, stage, nats, text="diary", seed=1, rate=0.01):
    """nats None: the run diverged."""
    found = {"nats_per_token": nats}
    found |= {name: 2.0 for name in SHOWN} | {f"start_{name}": 1.0 for name in SHOWN}
    readings = [Reading(name, value, "1") for name, value in found.items() if nats is not None]
    settings = {"corpus": text, "kind": kind, "stage": stage, "lr": rate, "seed": seed}
    return TrialRecord(settings, readings, 1.0)


def records(best, high, texts=("diary", "plays"), seeds=(1, 2, 3)):
    """Free lengths take 2 nats at the best rate and 2.5 at the high one; fixed ones what is given."""
    return [
        record(kind, stage, nats, text, seed)
        for text in texts
        for seed in seeds
        for stage, free, fixed in (("best", 2.0, best), ("high", 2.5, high))
        for kind, nats in (("free", free), ("fixed", fixed))
    ]


@pytest.mark.parametrize(
    ("best", "high", "holds"),
    [(1.9, 2.3, True), (1.97, 2.3, False), (1.9, 2.4, False), (1.9, None, False)],
)
def test_both_meetings_are_to_be_won(best, high, holds):
    assert LengthsDecide().verdict(records(best, high)).holds is holds


def test_one_seed_of_one_text_is_enough_to_fail():
    found = records(1.9, 2.3)
    found[-3] = record("fixed", "best", 1.99, "plays", 3)
    verdict = LengthsDecide().verdict(found)
    assert verdict.holds is False
    assert "at the best rates fixed lengths take 0.5% to 5.0% fewer nats" in verdict.reason


def test_what_diverges_loses_and_two_that_diverge_tie():
    found = [r for r in records(1.9, 2.3) if (r["kind"], r["stage"]) != ("free", "high")]
    gone = [record("free", "high", None, text, s) for text in ("diary", "plays") for s in (1, 2, 3)]
    verdict = LengthsDecide().verdict(found + gone)
    assert verdict.holds is True and "100.0% to 100.0%" in verdict.reason
    (row,) = (
        row for row in verdict.table if row["corpus"] == "diary" and row["nats"] is None
    )  # told without figures
    assert (row["stage"], row["lengths"]) == ("high", "free")
    both = [r for r in found if r["stage"] == "best"] + gone
    both += [
        record("fixed", "high", None, text, s) for text in ("diary", "plays") for s in (1, 2, 3)
    ]
    assert LengthsDecide().verdict(both).holds is False


def test_too_few_seeds_decide_nothing():
    assert LengthsDecide().verdict([]).holds is None
    verdict = LengthsDecide().verdict(records(1.9, 2.3, seeds=(1, 2)))
    assert verdict.holds is None and "found 2" in verdict.reason


def test_each_meets_at_its_own_best_rate_and_both_at_four_times_the_free_ones():
    claim, done = LengthsDecide(), {}
    trials = claim.runs(["diary"], "full", {})
    assert len(trials) == len(KINDS) * len(RATES)
    for trial in trials:
        best = {"fixed": 0.03, "free": 0.01}[trial.settings["kind"]]
        nats = {0.1: None}.get(trial.settings["lr"], 2 + (trial.settings["lr"] != best))
        told = record(trial.settings["kind"], "tune", nats)
        done[trial.key] = TrialRecord(trial.settings, told.readings, 1.0)
    later = [trial.settings for trial in claim.runs(["diary"], "full", done)][len(trials) :]
    met = {(one["kind"], one["stage"], one["lr"]) for one in later}
    assert met == {
        ("fixed", "best", 0.03), ("free", "best", 0.01), ("fixed", "high", 0.04), ("free", "high", 0.04),
    }  # fmt: skip
    assert sorted({one["seed"] for one in later}) == [1, 2, 3]


def test_a_trial_reads_lengths_before_and_after(tmp_path):
    draw, text = random.Random(0), tmp_path / "text.txt"
    text.write_text("".join(draw.choices("abcd efg\n", k=6000)), encoding="utf-8")
    corpus = prepare([str(text)], tokenizer="char", cache=tmp_path / "cache")
    claim = LengthsDecide()
    trial = next(t for t in claim.runs([corpus.id], "small", {}) if t.settings["lr"] == 0.1)
    readings = claim.measure(trial, {corpus.id: corpus}, tmp_path / "work")
    record = TrialRecord(trial.settings, readings, 1.0)
    assert 1 < record.value("start_query_length") < 5
    assert record.value("query_length") > 1.1 * record.value("start_query_length")
    (row,) = claim.verdict([record]).table
    assert row["query_length_after"] == round(record.value("query_length"), 3)
