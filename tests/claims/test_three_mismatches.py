"""The verdict on throwing words away at three mismatches, on made-up records, and one small run."""

import pytest

from seqstate.claims.three_mismatches import CODED, COUNTED, PLAIN, ThreeMismatches
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.text.store import prepare

GOOD = {"top1": 0.995, "recall": 0.97, "scored": 0.05, "plain": 0.9}


def record(energy, text, seed, nats=5.0, **changed):
    readings = [Reading("nats_per_token", nats, "nat/token")]
    for half in "ab":
        for counted in COUNTED:
            # the more bits count, the fewer words are scored and the fewer are kept
            at = {**GOOD, "recall": GOOD["recall"] - counted / 1000, "scored": 0.8 / counted}
            at |= changed.get(half, {})
            readings += [Reading(f"{half}{counted}_{n}", value, "share") for n, value in at.items()]
    return TrialRecord({"energy": energy, "corpus": text, "seed": seed}, readings, 1.0)


def everything(changed=(), energies=CODED):
    changed = dict(changed)
    found = [
        record(energy, text, seed, **changed.get((energy, text, seed), {}))
        for energy in energies
        for text in ("one", "two")
        for seed in (0, 1)
    ]
    plain = [
        TrialRecord(
            {"energy": PLAIN, "corpus": text, "seed": seed},
            [Reading("nats_per_token", 4.5, "nat/token")],
            1.0,
        )
        for text in ("one", "two")
        for seed in (0, 1)
    ]
    return found + plain


def test_it_holds_if_one_energy_meets_all_in_every_run():
    losing = {(energy, "one", 0): {"b": {"top1": 0.9}} for energy in CODED[1:]}
    verdict = ThreeMismatches().verdict(everything(losing))
    assert verdict.holds is True and verdict.reason.startswith(CODED[0])
    row = verdict.table[0]
    assert row["counted"] == "8"  # a tenth of the words: 0.8 / 8
    assert row["nats_above_inner"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "worse",
    [{"top1": 0.98}, {"recall": 0.94}, {"scored": 0.11}, {"plain": 0.99}],
    ids=lambda worse: next(iter(worse)),
)
def test_one_bad_run_of_each_energy_and_it_does_not_hold(worse):
    losing = {(energy, "two", 1): {"b": worse} for energy in CODED}
    assert ThreeMismatches().verdict(everything(losing)).holds is False


def test_bits_are_chosen_on_the_other_half():
    tempting = {
        (e, t, s): {"a": {"scored": 0.3}} for e in CODED for t in ("one", "two") for s in (0, 1)
    }
    verdict = ThreeMismatches().verdict(everything(tempting))
    assert {row["counted"] for row in verdict.table} == {
        "32"
    }  # nothing is cheap enough: the fewest


def test_few_records_do_not_decide():
    assert ThreeMismatches().verdict(everything(energies=CODED[:2])).holds is None
    one_seed = [one for one in everything() if one["seed"] == 0]
    assert ThreeMismatches().verdict(one_seed).holds is None
    one_text = [one for one in everything() if one["corpus"] == "one"]
    assert ThreeMismatches().verdict(one_text).holds is None


def test_a_small_run_gives_what_the_verdict_reads(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text(
        "\n".join(f"word{(i * i) % 97 % 41} and {i % 7} so {i % 3}" for i in range(600))
    )
    corpus = prepare([path], tokenizer="word", cache=tmp_path / "cache")
    asked = ThreeMismatches().runs([corpus.id], "small", {})
    assert {trial.settings["energy"] for trial in asked} - {None} >= set(CODED)
    coded = next(trial for trial in asked if trial.settings["energy"] == CODED[1])
    readings = ThreeMismatches().measure(coded, {corpus.id: corpus}, tmp_path / "run")
    values = {reading.name: reading.value for reading in readings}
    for half in "ab":
        for counted in COUNTED:
            assert 0 <= values[f"{half}{counted}_recall"] <= 1
    record = TrialRecord({**coded.settings, "corpus": "one"}, readings, 1.0)
    assert ThreeMismatches().verdict([record]).table[0]["seeds"] == 1
