"""The finding says what the numbers support and no more: checked against scipy and by hand."""

import dataclasses
import itertools

import pytest
from report.builder import LADDER, corpus, fake_run, fake_runs
from scipy import stats

from seqstate.report import finding
from seqstate.report.contrast import T, contrast, student
from seqstate.report.summary import ladders


def scored(state, energy, values, **options):
    """Runs of one row with these scores."""
    runs = []
    for seed, value in enumerate(values):
        run = fake_run(state, energy, seed=seed, **options)
        run.readings = [
            dataclasses.replace(r, value=value) if r.name == "bits_per_byte" else r
            for r in run.readings
        ]
        runs.append(run)
    return runs


def two_rows(first, second):
    [ladder] = ladders(scored("lstm", "inner", first) + scored("rnn", "inner", second))
    return ladder.rows


def test_quantiles_are_students():
    assert pytest.approx(stats.t.ppf(0.975, range(1, 31)), abs=5e-5) == T
    assert student(2.7) == T[1]  # a broken number of degrees is rounded down: never too narrow
    assert student(1e9) == T[-1]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_interval_is_welchs(count):
    first = [1.70 + 0.01 * (index % 3) for index in range(count)]
    second = [value + 0.05 for value in first]  # equal spreads: whole degrees of freedom
    found = contrast(*two_rows(first, second), "bits_per_byte")
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert found.gap - found.margin == pytest.approx(low, abs=1e-5)
    assert found.gap + found.margin == pytest.approx(high, abs=1e-5)


def test_unequal_spreads_give_an_interval_no_narrower_than_welchs():
    first, second = [1.70, 1.71, 1.72], [1.75, 1.81, 1.78, 1.90]
    found = contrast(*two_rows(first, second), "bits_per_byte")
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert 2 * found.margin >= high - low


def test_a_gap_beyond_the_scatter_is_called_so():
    text = finding(
        scored("lstm", "inner", [1.70, 1.71, 1.72]) + scored("rnn", "inner", [1.90, 1.91, 1.92])
    )
    assert "lstm + inner predicts best: 1.710 bits per byte" in text
    assert "0.200 (10.5 %) below rnn + inner" in text
    assert "more than seeds scatter" in text and "3 seeds each" in text


def test_a_gap_within_the_scatter_is_not_claimed():
    text = finding(
        scored("lstm", "inner", [1.70, 1.80, 1.90]) + scored("rnn", "inner", [1.75, 1.85, 1.92])
    )
    assert "not more than seeds scatter" in text and "includes zero" in text
    assert "do not tell the two apart" in text


def test_with_one_seed_nothing_is_claimed_about_another():
    text = finding(scored("lstm", "inner", [1.70]) + scored("rnn", "inner", [1.90]))
    assert "Each was trained with one seed" in text and "not known" in text
    assert "scatter" not in text


def test_a_counted_model_needs_no_seeds():
    text = finding(scored("lstm", "inner", [1.70]) + scored("ngram", None, [1.90]))
    assert "lstm + inner was trained with one seed" in text
    text = finding(scored("lstm", "inner", [1.70, 1.71]) + scored("ngram", None, [2.5]))
    assert "more than seeds scatter" in text and "2 seeds)" in text
    text = finding(scored("ngram(order=5)", None, [1.70]) + scored("ngram(order=3)", None, [1.90]))
    assert "Both are counted" in text


def test_a_third_that_scatters_more_is_not_passed_over():
    text = finding(
        scored("lstm", "inner", [1.700, 1.701, 1.702])
        + scored("rnn", "inner", [1.720, 1.721, 1.722])
        + scored("gru", "inner", [1.60, 1.75, 1.90])
    )
    assert "gru + inner, further behind but scattered more, cannot be told from it" in text


def test_equal_scores_have_no_best():
    text = finding(scored("lstm", "inner", [1.7, 1.7]) + scored("rnn", "inner", [1.7, 1.7]))
    assert "lstm + inner and rnn + inner predict equally well: 1.700" in text


def test_one_model_is_not_compared():
    text = finding([fake_run()])
    assert "only model here" in text and "best" not in text


def test_memory_is_weighed_against_the_smallest_state():
    text = finding(fake_runs(3))
    assert "With 1.31 KiB of state it saves" in text and "against ngram" in text and "32 B" in text


def test_unequal_sizes_and_settings_are_owned_up_to():
    assert "not an equal comparison" not in finding(fake_runs(1))
    unequal = [("gru(width=9)", "inner", 2.3, 64, 800_000, 9_000)]
    assert "parameters differ by up to 99" in finding(fake_runs(1, ladder=(*LADDER, *unequal)))
    text = finding([*fake_runs(1), fake_run("gru", "inner", steps=50)])
    assert "the runs differ in steps" in text


def test_a_learning_rate_of_its_own_does_not_make_a_comparison_unequal():
    text = finding([*fake_runs(1), fake_run("gru", "inner", lr=0.01)])
    assert "not an equal comparison" not in text


def test_every_corpus_gets_a_finding_of_its_own():
    text = finding(fake_runs(1) + fake_runs(1, about=corpus("pepys", id="beef")))
    assert [line.partition(":")[0] for line in text.splitlines()] == ["pepys", "tinyshakespeare"]


def test_the_finding_stays_two_to_four_sentences_long():
    for seeds, count in itertools.product((1, 3), (2, 7)):
        text = finding(fake_runs(seeds, ladder=LADDER[:count]))
        assert 2 <= text.count(". ") + 1 <= 4
