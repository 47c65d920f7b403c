"""What relay, inducing, gated_slots and latent have in common: definition, recurrence, and the stack."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws.grid import build_state
from reference import mixers

from seqstate.core import registry
from seqstate.core.state import detach, leaves

NAMES = ["relay", "inducing", "gated_slots", "latent"]
FACTORED = ["relay", "inducing", "gated_slots"]
SPECS = [
    "gated_slots(slots=5)",
    "gated_slots(layers=1, heads=2, slots=1, convolution=1)",
    "inducing(slots=5)",
    "inducing(layers=1, heads=2, slots=1, convolution=1)",
    "relay(chunk=5)",
    "relay(layers=1, heads=2, chunk=1, convolution=1)",
]


def defined(model, spec, x):
    """The hidden vectors by the definition's plain loops."""
    return mixers.hidden_by_loops(model, x, getattr(mixers, spec.partition("(")[0]))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("time", [1, 7, 70])
def test_hidden_vectors_are_the_definition(spec, time):
    model, x = build_state(spec).double(), torch.randn(2, time, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x)[0], defined(model, spec, x), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_those_of_the_definition(spec):
    model = build_state(spec).double()
    x = torch.randn(1, 37, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 37, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((defined(model, spec, x) * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", FACTORED)
def test_the_recurrence_is_the_parallel_form(name):
    model, x = build_state(name).double(), torch.randn(2, 100, 16, dtype=torch.float64)
    with torch.no_grad():
        whole = model(x)[0]
        torch.testing.assert_close(mixers.read_in_parts(model, x, 1), whole, atol=1e-10, rtol=1e-10)


@settings(max_examples=12)
@pytest.mark.parametrize(
    "spec",
    ["gated_slots(layers=1, slots=3)", "inducing(layers=1, slots=3)", "relay(layers=1, chunk=9)"],
)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_cuts_give_the_whole(spec, cuts):
    torch.manual_seed(1)
    model = build_state(spec).double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        parts, whole = mixers.read_in_parts(model, x, cuts), model(x)[0]
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", FACTORED)
def test_nothing_later_leaks_not_even_through_rounding(name):
    model, x = build_state(name), torch.randn(2, 70, 16)
    later = x.clone()
    later[:, 40:] = 100 * torch.randn(2, 30, 16)
    with torch.no_grad():
        assert torch.equal(model(x)[0][:, :40], model(later)[0][:, :40])


@pytest.mark.parametrize("name", [*NAMES, "relay(chunk=3)"])
def test_gradients_reach_back_through_the_state_unless_detached(name):
    model, x = build_state(name).double(), torch.randn(2, 8, 16).double().requires_grad_()
    _, state = model(x[:, :4])
    model(x[:, 4:], state)[0].square().sum().backward()
    through = x.grad.clone()
    x.grad = None
    model(x)[0][:, 4:].square().sum().backward()
    torch.testing.assert_close(through, x.grad, atol=1e-3 if name == "latent" else 1e-9, rtol=1e-3)
    x.grad = None
    model(x[:, 4:], detach(model(x[:, :4])[1]))[0].square().sum().backward()
    assert x.grad[:, :4].abs().max() == 0


@pytest.mark.parametrize("name", [*NAMES, "relay(chunk=3)"])
def test_a_long_text_is_read_in_spans_and_gives_the_same(name, monkeypatch):
    model, x = build_state(name).double(), torch.randn(3, 50, 16).double()
    short = torch.tensor([50, 3, 21])
    with torch.no_grad():
        whole, end = model(x, lengths=short)
        monkeypatch.setattr("seqstate.states._mixer_stack.SPAN", 11)
        spans, state = model(x, lengths=short)
    for row, length in enumerate(short.tolist()):
        torch.testing.assert_close(spans[row, :length], whole[row, :length], atol=1e-4, rtol=0)
    for one, other in zip(leaves(state), leaves(end), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name):
    model = registry.build("states", f"{name}(layers=1, dropout=0.5)", width=16)
    x = torch.randn(1, 4, 16)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_is_near_float32(name):
    model, x = registry.build("states", name, width=32), torch.randn(2, 70, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, state = model(x[:, :41])
        second, _ = model(x[:, 41:], state)
    second.float().square().sum().backward()
    both = torch.cat([first, second], 1).float()
    assert (both - model(x)[0]).abs().mean() < 0.02
    assert all(p.grad.isfinite().all() for p in model.parameters())
