"""What relay, inducing, gated_slots and latent have in common: the stack around their mixers."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state

from seqstate.core import registry
from seqstate.core.state import detach, leaves

NAMES = ["relay", "inducing", "gated_slots", "latent"]


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
