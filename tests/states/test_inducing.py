"""Inducing points: the parallel form, the recurrence and the definition are one function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import awake, build_state
from reference.mixers import hidden_by_loops, inducing

from seqstate.core import registry
from seqstate.core.state import state_bytes
from seqstate.states import Inducing

SPECS = ["inducing(slots=5)", "inducing(layers=1, heads=2, slots=1, convolution=1)"]


def read_in_parts(model, x, cuts):
    state, parts = None, []
    for part in x.split(cuts, 1):
        out, state = model(part, state)
        parts.append(out)
    return torch.cat(parts, 1)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("time", [1, 7, 70])
def test_hidden_vectors_are_the_definition(spec, time):
    model, x = build_state(spec).double(), torch.randn(2, time, 16, dtype=torch.float64)
    wanted = hidden_by_loops(model, x, inducing)
    torch.testing.assert_close(model(x)[0], wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_those_of_the_definition(spec):
    model = build_state(spec).double()
    x = torch.randn(1, 37, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 37, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((hidden_by_loops(model, x, inducing) * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_the_recurrence_is_the_parallel_form():
    model, x = build_state("inducing").double(), torch.randn(2, 100, 16, dtype=torch.float64)
    with torch.no_grad():
        whole = model(x)[0]
        torch.testing.assert_close(read_in_parts(model, x, 1), whole, atol=1e-10, rtol=1e-10)


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_cuts_give_the_whole(cuts):
    torch.manual_seed(1)
    model = build_state("inducing(layers=1, slots=3)").double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        parts, whole = read_in_parts(model, x, cuts), model(x)[0]
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=1e-10)


def test_nothing_later_leaks_not_even_through_rounding():
    model, x = build_state("inducing"), torch.randn(2, 70, 16)
    later = x.clone()
    later[:, 40:] = 100 * torch.randn(2, 30, 16)
    with torch.no_grad():
        assert torch.equal(model(x)[0][:, :40], model(later)[0][:, :40])


def test_one_slot_of_equal_weights_is_the_mean_of_the_values():
    model, x = awake(Inducing(width=16, layers=1, slots=1)), torch.randn(2, 50, 16)
    mixer = model.layers[0].mixer
    with torch.no_grad():
        mixer.log_sharpness.fill_(-100)  # every weight is exp(0)
        found = model.aggregates(x)
    means = found.value.cumsum(-2) / torch.arange(1, 51)[:, None]
    torch.testing.assert_close(found.given, means, atol=1e-5, rtol=1e-5)


def test_the_sharpest_queries_stay_finite_in_float32():
    model = Inducing(width=16, layers=1)
    with torch.no_grad():
        model.layers[0].mixer.log_sharpness.fill_(50.0)
    x = (10 * torch.randn(2, 300, 16)).requires_grad_()
    hidden, state = model(x)
    hidden.square().sum().backward()
    assert hidden.isfinite().all() and x.grad.isfinite().all()
    exact, _ = model.double()(x.detach().double())
    assert (hidden.double() - exact).abs().max() < 1e-3
    assert state["mixed"][0]["mass"].isfinite().all()


def test_the_state_has_a_fixed_size():
    model = Inducing(width=16, layers=3, slots=5)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * 3 * (5 * 2 * 16 + 5 * 4 + 3 * 16)}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"heads": 3}, "heads=1"), ({"slots": 0}, "at least 1"), ({"convolution": 0}, "at least 1")],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "inducing", width=16, **options)
    assert "\n" not in str(caught.value)
