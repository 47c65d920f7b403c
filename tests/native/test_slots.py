"""Slots read step by step: the kernel against the recurrence in float64, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from reference.mixers import slots_by_steps

from native.common import isas
from seqstate import native
from seqstate.core import registry
from seqstate.native import slots as native_slots
from seqstate.states import _slot_steps

# batch, time, heads, width of a head, slots: vectors and pieces filled in part, exactly, and over
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 7, 3, 5, 3),
    (3, 33, 2, 17, 16),
    (2, 16, 1, 32, 17),
    (1, 40, 2, 70, 33),
]


def drawn(batch, time, heads, width, slots):
    torch.manual_seed(0)
    tokens = [torch.randn(batch, time, heads, width) for _ in range(3)]
    write, held = torch.rand(batch, time, heads, slots), torch.randn(batch, heads, slots, 2 * width)
    return [*tokens, write, held]


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_recurrence(monkeypatch, shape, threads, isa):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    monkeypatch.setattr(native, "THREAD_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inputs = [part.requires_grad_() for part in drawn(*shape)]
    found = _slot_steps._SlotSteps.apply(*inputs)
    exact = [part.detach().double().requires_grad_() for part in inputs]
    wanted = slots_by_steps(*exact)
    # the gradient of what is given arrives in any layout
    towards = [torch.randn_like(part.transpose(1, -1)).transpose(1, -1) for part in found]
    grads = torch.autograd.grad(found, inputs, towards)
    slow = torch.autograd.grad(wanted, exact, [part.double() for part in towards])
    for one, other in zip((*found, *grads), (*wanted, *slow), strict=True):
        size = other.abs().max().clamp(min=1)
        assert (one - other).abs().max() <= 1e-5 * size


def test_cutting_a_text_changes_no_bit():
    query, key, value, write, held = drawn(2, 37, 2, 9, 5)
    whole, after, *_ = native_slots.mix(query, key, value, write, held, keep=False)
    parts = []
    for piece in zip(*(part.split(11, 1) for part in (query, key, value, write)), strict=True):
        mixed, held, *_ = native_slots.mix(*(p.contiguous() for p in piece), held, keep=False)
        parts.append(mixed)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(held, after)


@pytest.mark.parametrize("name", ["gated_slots", "inducing"])
def test_states_are_the_same_with_the_kernel_and_without(name, monkeypatch):
    model, x = registry.build("states", name, width=24), torch.randn(2, 70, 24)
    lengths = torch.tensor([70, 41])
    results = []
    for kernel in (True, False):
        if not kernel:
            monkeypatch.setattr(native_slots, "fits", lambda *tensors: False)
        hidden, state = model(x, lengths=lengths)
        loss = hidden[0].square().sum() + hidden[1, :41].square().sum()
        held = state["mixed"][0]["held"]
        loss = loss + held.sum()
        results.append([hidden[1, :41], held, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_other_types_and_wide_heads_stay_with_torch():
    assert native_slots.fits(torch.zeros(1, 1, 1, 2))
    assert not native_slots.fits(torch.zeros(1, 1, 1, 2).double())
    assert not native_slots.fits(torch.zeros(1, 1, 1, 2 * native_slots.MOST_WIDTH))
