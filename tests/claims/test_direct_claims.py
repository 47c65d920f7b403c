"""The verdicts of the claims that train no language model, on made-up records; their data, on known cases."""

import numpy as np
import pytest
import torch

from seqstate.claims._fits import at_equal_numbers, bigram_table, fit_table, numbers, random_table
from seqstate.claims.high_rank_targets import FAMILY, HighRankTargets, finalist
from seqstate.claims.large_vocabularies import RATES, LargeVocabularies
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading


def fitted(target, energy, seed, kl):
    settings = {"target": target, "energy": energy, "seed": seed, "lr": 0.03}
    return TrialRecord(settings, [Reading("kl", kl, "nat"), Reading("rank", 9, "1")], 1.0)


def tables(energy, factor, seeds=range(1, 16), targets=("random", "book")):
    """Tables differ by a factor of two, alike for all energies but for 2 %."""
    return [
        fitted(t, energy, s, factor * 2 ** (s % 5 / 4) * (1 + 0.02 * (s * len(energy) % 3)))
        for t in targets
        for s in seeds
    ]


INNER = tables("inner", 0.50)


def test_a_member_that_is_better_by_a_tenth_on_fresh_tables_wins_though_tables_differ_by_more():
    verdict = HighRankTargets().verdict(INNER + tables("rbf(groups=4)", 0.40))
    assert verdict.holds is True
    assert "rbf(groups=4)" in verdict.reason
    row = next(row for row in verdict.table if row["energy"] == "rbf(groups=4)")
    assert row["p"] < 1e-6
    assert row["fresh_against_inner"] == pytest.approx(-0.2, abs=0.03)


def test_a_small_gain_or_a_gain_on_one_target_only_loses():
    assert HighRankTargets().verdict(INNER + tables("rbf(groups=4)", 0.47)).holds is False
    one = tables("rbf(groups=4)", 0.3, targets=("random",))
    one += tables("rbf(groups=4)", 0.6, targets=("book",))
    assert HighRankTargets().verdict(INNER + one).holds is False


def test_a_gain_in_the_screening_alone_loses():
    lucky = tables("harmonic", 0.2, seeds=range(1, 6)) + tables("harmonic", 0.5, seeds=range(6, 16))
    verdict = HighRankTargets().verdict(INNER + lucky)
    row = next(row for row in verdict.table if row["energy"] == "harmonic")
    assert row["against_inner"] < -0.5
    assert verdict.holds is False


def test_a_peer_does_not_win_for_the_family():
    records = INNER + tables("mos", 0.1) + tables("rbf(groups=4)", 0.5)
    assert HighRankTargets().verdict(records).holds is False


def test_the_finalist_is_the_best_over_all_targets():
    records = tables("harmonic", 0.1, targets=("random",)) + tables(
        "harmonic", 0.6, targets=("book",)
    )
    records += tables("hamming", 0.2) + tables("minimum(groups=4)", 0.01, targets=("random",))
    assert finalist(records) == "hamming"


def test_few_records_decide_nothing():
    assert HighRankTargets().verdict([]).holds is None
    assert HighRankTargets().verdict(INNER).holds is None
    few = tables("rbf(groups=4)", 0.1, seeds=(1, 2, 3, 6, 7))
    assert HighRankTargets().verdict(INNER + few).holds is None


def test_the_best_rate_of_table_0_is_used_for_the_other_tables_and_a_divergent_one_is_not():
    claim, done = HighRankTargets(), {}
    first = claim.runs(["book"], "small", done)
    assert {trial.settings["seed"] for trial in first} == {0}
    for trial in first:
        kl = {0.03: 0.5, 0.1: 0.4, 0.3: None}[trial.settings["lr"]]
        readings = [Reading("kl", kl, "nat"), Reading("rank", 9, "1")] if kl else []
        done[trial.key] = TrialRecord(trial.settings, readings, 1.0)
    later = [trial for trial in claim.runs(["book"], "small", done) if trial.key not in done]
    assert {trial.settings["lr"] for trial in later} == {0.1}
    assert {trial.settings["energy"] for trial in later} >= {"inner", *FAMILY}


def test_equal_numbers_are_within_one_per_cent():
    allowed = 1.01 * numbers("inner", 64, 48, 12)
    for energy, wanted in (("inner", 12), ("multi_hamming(groups=4)", 12), ("mos", 8)):
        width = at_equal_numbers(energy, 64, 48, 12)
        assert width == wanted
        assert numbers(energy, 64, 48, width) <= allowed


def test_bigrams_are_those_of_the_text():
    ids = np.array([0, 1, 0, 1, 0, 2, 1, 2, 0, 1])
    table, weight = bigram_table(ids, 3, 3, seed=0)
    assert table.sum(1) == pytest.approx(torch.ones(3))
    # whatever order was drawn, 0 is followed by 1 three times and by 2 once, plus the unigram (4, 4, 2)/10
    rows = {tuple(round(float(x), 3) for x in sorted(row)) for row in table}
    assert tuple(round(x, 3) for x in sorted([0.4 / 5, 3.4 / 5, 1.2 / 5])) in rows
    assert float(weight.max()) == pytest.approx(5 / 12)


def test_a_wide_inner_product_fits_a_table_and_a_narrow_one_does_not():
    table, weight = random_table(12, 3)
    values = {}
    for width in (2, 11):
        found = fit_table(table, weight, "inner", width=width, lr=0.1, steps=400, seed=0)
        values[width] = {one.name: one.value for one in found}
    assert values[11]["kl"] < 1e-3 < 0.1 < values[2]["kl"]
    assert values[2]["rank"] == 3  # two columns and the bias
    assert values[11]["rank"] == 11


def spam(energy, seed, size, accuracy):
    settings = {"energy": energy, "symbols": size, "seed": seed, "lr": 0.01}
    return TrialRecord(settings, [Reading("accuracy", accuracy, "share")], 1.0)


def climbed(energy, largest, seeds=range(5)):
    return [
        spam(energy, s, v, 1.0 if v <= largest[s % len(largest)] else 0.5)
        for s in seeds
        for v in (128, 256, 512, 1024)
    ]


def test_twice_the_vocabulary_wins_unless_one_seed_learns_less():
    claim, inner = LargeVocabularies(), climbed("inner", [256])
    assert claim.verdict(inner + climbed("harmonic", [512])).holds is True
    assert claim.verdict(inner + climbed("harmonic", [512, 128])).holds is False
    assert claim.verdict(inner + climbed("harmonic", [256])).holds is False
    assert claim.verdict(inner + climbed("mos", [512]) + climbed("soft_bits", [128])).holds is False
    assert claim.verdict(inner + climbed("harmonic", [512], seeds=range(3))).holds is None
    assert claim.verdict([]).holds is None


def test_where_the_inner_product_learns_all_that_was_tried_nothing_is_decided():
    verdict = LargeVocabularies().verdict(climbed("inner", [1024]) + climbed("harmonic", [1024]))
    assert verdict.holds is None
    assert "nothing larger was tried" in verdict.reason


def test_a_vocabulary_is_tried_when_the_one_before_was_learnt_at_any_rate():
    claim, done, tried = LargeVocabularies(), {}, []
    while new := [t for t in claim.runs([], "small", done) if t.key not in done]:
        for trial in new:
            wanted = trial.settings
            learnt = wanted["lr"] == RATES[1] and wanted["symbols"] == 16
            readings = [Reading("accuracy", float(learnt), "share")]
            done[trial.key] = TrialRecord(wanted, readings, 1.0)
            if wanted["energy"] == "inner":
                tried.append((wanted["symbols"], wanted["lr"]))
    assert tried == [(16, RATES[0]), (16, RATES[1]), *((32, rate) for rate in RATES)]
