"""Rows, ladders and labels: what is averaged over, and what is never mixed."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.builder import LADDER, corpus, fake_run, fake_runs, gates

from seqstate.core.record import Reading
from seqstate.report.summary import ladders


def test_runs_that_differ_only_in_seed_are_one_row_with_mean_and_sample_deviation():
    runs = [fake_run(seed=seed) for seed in (4, 0, 2)]
    [ladder] = ladders(runs)
    [row] = ladder.rows
    values = [run.reading("bits_per_byte").value for run in runs]
    stat = row.stats["bits_per_byte"]
    assert row.seeds == (0, 2, 4) and stat.count == 3
    assert stat.mean == pytest.approx(np.mean(values))
    assert stat.spread == pytest.approx(np.std(values, ddof=1))


def test_one_seed_has_no_spread():
    [ladder] = ladders([fake_run()])
    assert ladder.rows[0].stats["bits_per_byte"].spread is None


def test_corpora_are_never_ranked_together():
    other = corpus("wikitext2", id="beef")
    found = ladders(fake_runs(1) + fake_runs(1, about=other))
    assert [ladder.name for ladder in found] == ["tinyshakespeare", "wikitext2"]
    assert [len(ladder.rows) for ladder in found] == [7, 7]
    assert all(
        {run.config.corpus for run in ladder.runs} == {ladder.corpus["id"]} for ladder in found
    )


def test_rows_are_ranked_by_their_mean_and_rows_without_a_score_come_last():
    dumb = fake_run("relay(slots=4)")
    dumb.readings = [r for r in dumb.readings if not r.name.startswith(("bits", "nats"))]
    [ladder] = ladders([*fake_runs(2), dumb])
    means = [row.stats["bits_per_byte"].mean for row in ladder.ranked]
    assert means == sorted(means) and len(means) == 7
    assert ladder.rows[-1].config.state == "relay(slots=4)"


@given(st.permutations(range(10)))
def test_the_order_of_the_runs_does_not_matter(order):
    runs = fake_runs(3, ladder=LADDER[:4], points=2, tokens=3)
    assert ladders([runs[index] for index in order]) == ladders(runs)


def test_a_run_given_twice_counts_once():
    runs = fake_runs(2)
    assert ladders(runs + runs[:3]) == ladders(runs)


def test_a_value_that_is_not_a_number_is_left_out_of_the_row():
    run = fake_run()
    run.readings.append(Reading("cpu_seconds", math.nan, "s"))
    run.readings[1] = dataclasses.replace(run.readings[1], value=math.inf)
    [ladder] = ladders([run])
    assert "bits_per_token" not in ladder.rows[0].stats


def test_unknown_names_tagged_readings_and_repeats_are_instruments():
    extra = (
        *gates(64, 0.7),
        Reading("bits_per_byte", 1.9, "bit/byte", tags={"part": "rare words"}),
    )
    [ladder] = ladders([fake_run(seed=seed, extra=extra) for seed in (0, 1)])
    found = {(stat.name, stat.tags): stat for stat in ladder.rows[0].instruments}
    assert set(found) == {
        ("gate_saturation", (("gate", "forget"), ("layer", "0"))),
        ("gate_saturation", (("gate", "input"), ("layer", "0"))),
        ("logit_rank", ()),
        ("bits_per_byte", (("part", "rare words"),)),
    }
    assert found["logit_rank", ()].values == (65, 65)
    assert ladder.rows[0].stats["bits_per_byte"].mean != 1.9


def test_counted_is_read_from_the_record_not_guessed_from_a_missing_energy():
    trained = fake_run("pcfg", None, points=9)
    trained.readings = [
        dataclasses.replace(r, tags={"counted": False}) if r.name == "parameters" else r
        for r in trained.readings
    ]
    [ladder] = ladders([trained, fake_run("ngram(order=3)", None)])
    assert {row.short: row.counted for row in ladder.rows} == {"pcfg": False, "ngram": True}


def short_labels(*pairs, **settings):
    [ladder] = ladders([fake_run(state, energy, **settings) for state, energy in pairs])
    return {row.label: row.short for row in ladder.rows}


def test_short_labels_keep_only_the_options_that_tell_rows_apart():
    found = short_labels(
        ("lstm(layers=1, width=9)", "inner"),
        ("lstm(layers=2, width=7)", "inner"),
        ("attention(energy='rbf(groups=4)', width=8)", "mos(mixtures=2)"),
        ("my.own.State(width=3)", "inner"),
    )
    assert found == {
        "lstm(layers=1, width=9) + inner": "lstm(layers=1) + inner",
        "lstm(layers=2, width=7) + inner": "lstm(layers=2) + inner",
        "attention(energy='rbf(groups=4)', width=8) + mos(mixtures=2)": "attention + mos",
        "my.own.State(width=3) + inner": "State + inner",
    }


def test_parts_within_parts_are_told_by_name_where_that_is_enough():
    found = short_labels(
        ("attention(energy='rbf(groups=4)')", "inner"), ("attention(energy='rbf')", "inner")
    )
    assert sorted(found.values()) == [
        "attention(energy='rbf') + inner",
        "attention(energy='rbf(groups=4)') + inner",
    ]
    found = short_labels(("attention(energy='l2(scale=2)')", "inner"), ("attention", "inner"))
    assert sorted(found.values()) == ["attention + inner", "attention(energy=l2) + inner"]


def test_rows_that_differ_in_a_setting_only_say_so():
    [ladder] = ladders([fake_run(lr=0.01), fake_run(lr=0.001)])
    assert sorted(row.short for row in ladder.rows) == [
        "lstm + inner, lr=0.001",
        "lstm + inner, lr=0.01",
    ]
    assert ladder.varying() == {"lr": [row.config.lr for row in ladder.trained]}


NAMES = st.sampled_from(["lstm", "rnn", "attention"])
OPTIONS = st.dictionaries(st.sampled_from(["layers", "width", "order"]), st.integers(1, 3))


@given(st.lists(st.tuples(NAMES, OPTIONS), min_size=1, max_size=6, unique_by=repr))
def test_short_labels_are_as_different_as_full_ones(specs):
    written = [
        f"{name}({', '.join(f'{k}={v}' for k, v in given.items())})" for name, given in specs
    ]
    found = short_labels(*((text, "inner") for text in written), points=1, tokens=2)
    assert len(set(found.values())) == len(found)
    assert all(len(short) <= len(full) for full, short in found.items())


def test_stderr_is_the_mean_within_runs():
    [ladder] = ladders([fake_run(seed=seed) for seed in range(2)])
    assert ladder.rows[0].stats["bits_per_byte"].stderr == pytest.approx(
        statistics.fmean([0.012] * 2)
    )


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="no runs"):
        ladders([])
