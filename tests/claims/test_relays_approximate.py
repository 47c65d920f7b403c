"""The verdict of the claim on relays, on made-up records, and one trial from end to end."""

import random

import pytest

from seqstate.claims.relays_approximate import NODES, RelaysApproximate
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.text.store import prepare

TEXTS = ("diary", "speeches")


def record(kind, bits, error=0.0, text="diary", seed=0):
    found = {"bits_per_byte": bits, "parameters": 1000.0}
    if kind != "attention":
        found |= {"relay_error": error, "mean_error": 0.8, "start_relay_error": 0.1}
    readings = [Reading(name, value, "1") for name, value in found.items()]
    return TrialRecord({"kind": kind, "corpus": text, "seed": seed}, readings, 1.0)


def records(bits, error, texts=TEXTS, seeds=(0, 1)):
    """Attention at 2 bits on the first seed and 2.2 on the second; relays at `bits` times that."""
    found = []
    for text in texts:
        for seed in seeds:
            base = 2 + 0.2 * seed
            found.append(record("attention", base, text=text, seed=seed))
            for kind in NODES:
                share = bits if kind == "inducing" else 1.5
                found.append(record(kind, share * base, error, text, seed))
    return found


def test_near_in_bits_and_in_what_is_given_holds():
    verdict = RelaysApproximate().verdict(records(1.01, 0.3))
    assert verdict.holds is True
    assert "inducing on 2 text(s)" in verdict.reason and "+1.0%" in verdict.reason
    row = next(row for row in verdict.table if row["state"] == "inducing")
    assert row["above_attention"] == pytest.approx(0.01)
    assert row["attention"] == pytest.approx(2.1)


@pytest.mark.parametrize(("bits", "error"), [(1.03, 0.3), (1.01, 0.5)])
def test_one_of_the_two_is_not_enough(bits, error):
    assert RelaysApproximate().verdict(records(bits, error)).holds is False


def test_one_text_that_fails_is_enough_to_fail():
    mixed = records(1.01, 0.3, texts=TEXTS[:1]) + records(1.03, 0.3, texts=TEXTS[1:])
    assert RelaysApproximate().verdict(mixed).holds is False


def test_too_few_seeds_decide_nothing():
    verdict = RelaysApproximate().verdict(records(1.01, 0.3, seeds=(0,)))
    assert verdict.holds is None and len(verdict.table) == 6
    assert RelaysApproximate().verdict([]).holds is None


def test_a_trial_from_end_to_end(tmp_path):
    draw, text = random.Random(0), tmp_path / "text.txt"
    text.write_text("".join(draw.choices("abcd efg\n", k=6000)), encoding="utf-8")
    corpus = prepare([str(text)], tokenizer="char", cache=tmp_path / "cache")
    claim, done = RelaysApproximate(), []
    trials = claim.runs([corpus.id], "small", {})
    assert [trial.settings["kind"] for trial in trials] == ["attention", *NODES]
    for trial in (trials[0], trials[2]):
        readings = claim.measure(trial, {corpus.id: corpus}, tmp_path / trial.key)
        done.append(TrialRecord(trial.settings, readings, 1.0))
    (row,) = claim.verdict(done).table
    assert row["state"] == "inducing"
    assert abs(row["against_parameters"]) < 0.03
    assert 2 < row["bits_per_byte"] < 8
    assert 0 < row["error_at_start"] < 1.5
