"""The paired test against scipy, Holm's correction against its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqstate.claims._statistics import holm, paired


@given(st.integers(2, 9), st.integers(0, 1000))
def test_the_paired_test_is_scipys(count, seed):
    draw = np.random.default_rng(seed)
    theirs = draw.normal(4.0, 0.1, count)
    ours = theirs - draw.normal(0.02, 0.03, count)
    found, wanted = (
        paired(ours.tolist(), theirs.tolist()),
        stats.ttest_rel(theirs, ours, alternative="greater"),
    )
    assert found.p == pytest.approx(wanted.pvalue)
    low, high = stats.ttest_rel(theirs, ours).confidence_interval(0.95)
    assert (found.gain - found.margin, found.gain + found.margin) == pytest.approx((low, high))
    assert found.pairs == count


def test_what_seeds_do_to_both_of_a_pair_cancels():
    seeds = np.array([0.0, 3.0, -2.0, 5.0, 1.0])
    ours, theirs = seeds + np.array([1.0, 1.1, 0.9, 1.0, 1.05]), seeds + 2.0
    assert paired(ours.tolist(), theirs.tolist()).p < 1e-4
    assert stats.ttest_ind(ours, theirs, alternative="less").pvalue > 0.2


def test_equal_differences_are_certain_and_none_is_not():
    assert paired([1.0, 2.0], [2.0, 3.0]).p == 0.0
    assert paired([1.0, 2.0], [1.0, 2.0]).p == 1.0


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="2 pairs or more, found 1"):
        paired([1.0], [2.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_largest_bonferroni_over_the_hypotheses_still_open(p_values):
    """Closed testing: a hypothesis is rejected iff every intersection with it is, by Bonferroni."""
    for index, adjusted in enumerate(holm(p_values)):
        others = [k for k in range(len(p_values)) if k != index]
        worst = max(
            min(1.0, (len(more) + 1) * min([p_values[index], *(p_values[k] for k in more)]))
            for size in range(len(others) + 1)
            for more in itertools.combinations(others, size)
        )
        assert adjusted == pytest.approx(worst)
