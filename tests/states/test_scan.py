"""The linear recurrence: both forms against the equation, in value and gradient, at length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.scan import by_equation, in_log_space

from seqstate.states._scan import (
    back_by_doubling,
    back_by_steps,
    by_doubling,
    by_steps,
    linear_scan,
)


def problem(time, keep=None):
    keep = torch.rand(2, time, 3, dtype=torch.float64) if keep is None else keep
    return keep, torch.randn(2, time, 3, dtype=torch.float64), torch.randn(2, 3).double()


@given(time=st.integers(1, 70))
def test_every_form_is_the_equation(time):
    torch.manual_seed(time)
    keep, write, start = problem(time)
    wanted = by_equation(keep, write, start)
    for form in (by_steps, by_doubling, linear_scan):
        torch.testing.assert_close(form(keep, write, start), wanted, atol=1e-12, rtol=1e-12)


@given(time=st.integers(1, 70))
def test_both_forms_go_back_alike(time):
    torch.manual_seed(time)
    keep, grad, _ = problem(time)
    torch.testing.assert_close(
        back_by_doubling(keep, grad), back_by_steps(keep, grad), atol=1e-12, rtol=1e-12
    )


def test_the_published_log_space_form_agrees():
    keep, write, start = problem(40)
    torch.testing.assert_close(
        in_log_space(keep, write.abs(), start.abs()), linear_scan(keep, write.abs(), start.abs())
    )


@pytest.mark.parametrize("time", [1, 2, 9])
def test_gradients_are_right(time):
    given = [tensor.requires_grad_() for tensor in problem(time)]
    assert torch.autograd.gradcheck(linear_scan, given)


def test_gates_shut_and_open_exactly():
    keep = torch.tensor([1.0, 1.0, 0.0, 1.0]).double().view(1, 4, 1).expand(2, 4, 3)
    keep, write, start = problem(4, keep.contiguous())
    write[:, [0, 1, 3]] = 0
    out = linear_scan(keep, write, start)
    assert torch.equal(out[:, 0], start) and torch.equal(out[:, 1], start)
    assert torch.equal(out[:, 2], write[:, 2]) and torch.equal(out[:, 3], write[:, 2])


def test_it_stays_exact_over_ten_thousand_steps_in_float32():
    keep = torch.rand(1, 10_000, 4) * 0.2 + 0.8
    write, start = torch.randn(1, 10_000, 4), torch.zeros(1, 4)
    wanted = by_equation(keep.double(), write.double(), start.double())
    torch.testing.assert_close(
        linear_scan(keep, write, start).double(), wanted, atol=1e-5, rtol=1e-5
    )
