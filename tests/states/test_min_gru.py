"""minGRU: the scan is the published cell, in its equation and in its log-space form."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state
from reference.scan import by_equation, in_log_space
from torch.nn import functional as F

from seqstate.core.model import HasGates
from seqstate.core.state import state_bytes
from seqstate.states import MinGRU
from seqstate.states._short_convolution import short_convolution


def by_loops(model, x):
    """Hidden vectors and gates, every step and layer in the paper's equations."""
    gates = []
    for layer in model.layers:
        u = F.layer_norm(x, (model.width,), layer.norm.weight)
        hidden, update = [], []
        h = torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            newest_first = [(t - j, layer.taps[-1 - j]) for j in range(len(layer.taps))]
            mixed = sum(u[:, s] * tap for s, tap in newest_first if s >= 0)
            gate, candidate = layer.project(mixed).chunk(2, -1)
            z = torch.sigmoid(gate)
            h = (1 - z) * h + z * candidate
            hidden.append(h)
            update.append(z)
        x = x + torch.stack(hidden, 1)
        wide = F.layer_norm(x, (model.width,), layer.mlp.norm.weight) @ layer.mlp.up.weight.T
        x = x + wide.relu().square() @ layer.mlp.down.weight.T
        gates.append(torch.stack(update, 1))
    return F.layer_norm(x, (model.width,), model.norm.weight), torch.stack(gates, 2)


@pytest.mark.parametrize("spec", ["min_gru", "min_gru(layers=3, convolution=1)"])
def test_hidden_vectors_and_gates_are_the_equations(spec):
    model, x = build_state(spec).double(), torch.randn(3, 9, 16).double()
    hidden, gates = by_loops(model, x)
    torch.testing.assert_close(model(x)[0], hidden, atol=1e-10, rtol=1e-10)
    assert isinstance(model, HasGates)
    torch.testing.assert_close(model.gates(x)["update"], gates, atol=1e-10, rtol=1e-10)


def test_gradients_are_those_of_the_equations():
    model = build_state("min_gru").double()
    x = torch.randn(2, 6, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 6, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((by_loops(model, x)[0] * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_gates_go_on_from_a_state():
    model, x = build_state("min_gru").double(), torch.randn(3, 7, 16).double()
    _, state = model(x[:, :3])
    torch.testing.assert_close(
        model.gates(x[:, 3:], state)["update"], model.gates(x)["update"][:, 3:]
    )


def test_stepping_ten_thousand_tokens_is_reading_them_at_once():
    model, x = MinGRU(width=8, layers=2).eval(), torch.randn(1, 10_000, 8)
    with torch.no_grad():
        whole, _ = model(x)
        _, state = model(x[:, :9_980])
        for t in range(9_980, 10_000):
            step, state = model(x[:, t : t + 1], state)
            torch.testing.assert_close(step, whole[:, t : t + 1], atol=1e-5, rtol=1e-5)


def test_the_cell_is_the_published_one_where_candidates_are_positive():
    z, candidate = torch.rand(2, 3, 50, 4).double()
    start = torch.rand(3, 4).double()
    published = in_log_space(1 - z, z * candidate, start)
    torch.testing.assert_close(by_equation(1 - z, z * candidate, start), published)


def test_the_short_convolution_has_the_right_gradient_and_is_torchs():
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(short_convolution, (x, taps))
    torchs = F.conv1d(x.transpose(1, 2), taps.T[:, None], groups=3).transpose(1, 2)
    torch.testing.assert_close(short_convolution(x, taps), torchs)


def test_the_state_has_a_fixed_size():
    model = MinGRU(width=16, layers=3)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * (3 * 16 + 3 * 3 * 16)}


def test_a_convolution_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        MinGRU(width=16, convolution=0)
