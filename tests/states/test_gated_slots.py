"""Gated slots: what they write, how they forget, and what that costs."""

from __future__ import annotations

import math

import pytest
import torch
from laws.grid import build_state

from seqstate.core import registry
from seqstate.core.model import HasGates
from seqstate.core.state import state_bytes
from seqstate.states import GatedSlots


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
