"""The verdict on fusion, on made-up records, and one small run of it."""

import random

import pytest

from seqstate.claims.fusion_beats_parts import MEMBERS, FusionBeatsParts
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.text.store import prepare

PARTS = {"counts": 1.5, "neural": 1.45, "cache": 2.5}


def record(text, seed, fused=1.40, stderr=0.002, added=0.02):
    readings = [Reading("nats_fused", fused, "nat/token", 9000, 0.01)]
    for name, nats in PARTS.items():
        readings.append(Reading(f"nats_{name}", nats, "nat/token", 9000, 0.01))
        readings.append(Reading(f"gain_on_{name}", nats - fused, "nat/token", 9000, stderr))
        without = Reading(f"gain_on_without_{name}", added, "nat/token", 9000, stderr)
        readings.append(without)
    return TrialRecord({"corpus": text, "seed": seed, "steps": 800}, readings, 1.0)


def records(**changed):
    return [record(text, seed, **changed) for text in ("plays", "diary") for seed in range(3)]


def test_a_gain_of_three_per_cent_everywhere_holds():
    verdict = FusionBeatsParts().verdict(records())
    assert verdict.holds is True
    assert verdict.table[0]["gain_share"] == pytest.approx(0.05 / 1.45)
    assert "each member adds" in verdict.reason


def test_the_gain_is_on_the_best_member_not_on_the_others():
    verdict = FusionBeatsParts().verdict(records(fused=1.445))
    assert verdict.holds is False
    assert "0.3%" in verdict.reason


def test_one_bad_run_or_a_gain_within_the_noise_does_not_hold():
    assert (
        FusionBeatsParts().verdict([*records()[1:], record("plays", 0, fused=1.44)]).holds is False
    )
    assert FusionBeatsParts().verdict(records(stderr=0.02)).holds is False


def test_an_idle_member_is_named():
    verdict = FusionBeatsParts().verdict(records(added=0.001))
    assert verdict.holds is True
    assert "idle in some run: cache, counts, neural" in verdict.reason


def test_few_records_decide_nothing():
    claim = FusionBeatsParts()
    assert claim.verdict([]).holds is None
    assert claim.verdict(records()[:3]).holds is None
    assert claim.verdict(records()[:5]).holds is None


def test_a_small_run_measures_every_part_and_every_mix_without_one(tmp_path, monkeypatch):
    monkeypatch.setitem(MEMBERS, "neural", "lstm(width=8)")
    monkeypatch.setitem(MEMBERS, "cache", "cache(window=50)")
    draw = random.Random(0)
    words = ["the", "old", "man", "and", "his", "sea", "said", "no", "word", "to", "me"]
    text = tmp_path / "book.txt"
    text.write_text(" ".join(draw.choices(words, k=1200)))
    corpus = prepare([text], tokenizer="char", cache=tmp_path)
    claim = FusionBeatsParts()
    (trial,) = claim.runs([corpus.id], "small", {})
    found = {one.name: one for one in claim.measure(trial, {corpus.id: corpus}, tmp_path / "work")}
    nats = {name: found[f"nats_{name}"].value for name in (*MEMBERS, "fused")}
    for name in MEMBERS:
        assert found[f"gain_on_{name}"].value == pytest.approx(nats[name] - nats["fused"], abs=1e-6)
        assert found[f"gain_on_{name}"].stderr > 0
        assert f"nats_without_{name}" in found
    row = claim.verdict([TrialRecord(trial.settings, list(found.values()), 1.0)]).table[0]
    assert row["corpus"] == corpus.id
