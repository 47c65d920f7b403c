"""How a comparison shares out its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.compare import Entry, Plan, ladder, makespan, seconds_for
from seqstate.core import registry
from seqstate.core.record import RunConfig
from seqstate.core.spec import parse_pair


def test_the_full_ladder_has_every_state_and_each_model_once():
    full = ladder("full")
    assert {parse_pair(model)[0].name for model in full} == set(registry.names("states"))
    assert len(set(full)) == len(full)
    with pytest.raises(ValueError, match="no ladder 'ful'"):
        ladder("ful")


def test_equal_time_for_all_fits_into_the_whole_time():
    entries = [Entry("rnn", "inner", 1000)] * 5
    plan = Plan("corpus", RunConfig("rnn", None, "corpus"), 1000, entries, seeds=[0, 1])
    alone, two = seconds_for(plan, 1000.0, 1), seconds_for(plan, 1000.0, 2)
    assert 10 * alone < 1000 and 5 * two < 1000 < 11 * two
    assert 10 * seconds_for(plan, 1000.0, 1, rates=3) < 700


def test_five_models_on_two_cores():
    assert makespan([8.0, 7.0, 5.0, 4.0, 4.0], 2) == 16.0  # 8 + 4 + 4 beside 7 + 5
    assert makespan([4.0, 4.0, 5.0, 7.0, 8.0], 2) == 17.0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=9), st.integers(1, 4))
def test_the_last_job_ends_within_one_job_of_the_mean(durations, workers):
    ends, mean = makespan(durations, workers), sum(durations) / workers
    assert max(mean, max(durations)) <= ends + 1e-9
    assert ends <= mean + max(durations) + 1e-9
    assert makespan(durations, 1) == pytest.approx(sum(durations))
