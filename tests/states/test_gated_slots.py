"""Gated slots: the parallel form, the recurrence and the definition are one function."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import build_state
from reference.mixers import gated_slots, hidden_by_loops

from seqstate.core import registry
from seqstate.core.model import HasGates
from seqstate.core.state import state_bytes
from seqstate.states import GatedSlots

SPECS = ["gated_slots(slots=5)", "gated_slots(layers=1, heads=2, slots=1, convolution=1)"]


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
    wanted = hidden_by_loops(model, x, gated_slots)
    torch.testing.assert_close(model(x)[0], wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_those_of_the_definition(spec):
    model = build_state(spec).double()
    x = torch.randn(1, 37, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 37, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((hidden_by_loops(model, x, gated_slots) * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_the_recurrence_is_the_parallel_form():
    model, x = build_state("gated_slots").double(), torch.randn(2, 100, 16, dtype=torch.float64)
    with torch.no_grad():
        whole = model(x)[0]
        torch.testing.assert_close(read_in_parts(model, x, 1), whole, atol=1e-10, rtol=1e-10)


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_cuts_give_the_whole(cuts):
    torch.manual_seed(1)
    model = build_state("gated_slots(layers=1, slots=3)").double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        parts, whole = read_in_parts(model, x, cuts), model(x)[0]
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=1e-10)


def test_nothing_later_leaks_not_even_through_rounding():
    model, x = build_state("gated_slots"), torch.randn(2, 70, 16)
    later = x.clone()
    later[:, 40:] = 100 * torch.randn(2, 30, 16)
    with torch.no_grad():
        assert torch.equal(model(x)[0][:, :40], model(later)[0][:, :40])


def test_gates_are_the_writes_of_the_slots():
    model, x = (
        build_state("gated_slots(layers=2, slots=5)").double(),
        torch.randn(2, 9, 16).double(),
    )
    assert isinstance(model, HasGates)
    whole = model.gates(x)["write"]
    assert whole.shape == (2, 9, 2, 4, 5)
    _, state = model(x[:, :4])
    torch.testing.assert_close(model.gates(x[:, 4:], state)["write"], whole[:, 4:])
    with torch.no_grad():
        model.layers[0].mixer.slots.gate.bias.fill_(-1e9)
        assert model(x)[1]["mixed"][0]["held"].abs().max() == 0


def test_half_lives_start_from_one_token_to_a_thousand():
    slots = GatedSlots(width=16, layers=1, slots=11).layers[0].mixer.slots
    keep = 1 - 7 / 8 * torch.sigmoid(slots.gate.bias.double())
    half_lives = math.log(0.5) / keep.log()
    torch.testing.assert_close(
        half_lives, 2.0 ** torch.arange(11.0).double().repeat(4), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("bias", [-40.0, 0.0, 40.0])
def test_the_most_and_the_least_forgetful_slots_stay_exact_in_float32(bias):
    model = GatedSlots(width=16, layers=1)
    with torch.no_grad():
        model.layers[0].mixer.slots.gate.bias.fill_(bias)
    x = torch.randn(2, 300, 16, requires_grad=True)
    hidden, _ = model(x)
    hidden.square().sum().backward()
    grad = x.grad.clone()
    exact_x = x.detach().double().requires_grad_()
    exact, _ = model.double()(exact_x)
    exact.square().sum().backward()
    torch.testing.assert_close(hidden.double(), exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grad.double(), exact_x.grad, atol=1e-3, rtol=1e-3)


def test_the_state_has_a_fixed_size():
    model = GatedSlots(width=16, layers=3, slots=5)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * 3 * (5 * 2 * 16 + 3 * 16)}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"heads": 3}, "heads=1"), ({"slots": 0}, "at least 1"), ({"convolution": 0}, "at least 1")],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "gated_slots", width=16, **options)
    assert "\n" not in str(caught.value)
