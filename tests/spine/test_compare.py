"""How a comparison shares out its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqstate.compare import makespan


def test_five_models_on_two_cores():
    assert makespan([8.0, 7.0, 5.0, 4.0, 4.0], 2) == 16.0  # 8 + 4 + 4 beside 7 + 5
    assert makespan([4.0, 4.0, 5.0, 7.0, 8.0], 2) == 17.0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=9), st.integers(1, 4))
def test_the_last_job_ends_within_one_job_of_the_mean(durations, workers):
    ends, mean = makespan(durations, workers), sum(durations) / workers
    assert max(mean, max(durations)) <= ends + 1e-9
    assert ends <= mean + max(durations) + 1e-9
    assert makespan(durations, 1) == pytest.approx(sum(durations))
