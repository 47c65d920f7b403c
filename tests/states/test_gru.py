"""GRU: torch's kernel is its equations, and its gates can be seen."""

from __future__ import annotations

import torch
from laws.grid import build_state
from reference import cells
from torch import nn

from seqstate.core.model import HasGates
from seqstate.states import GRU


def test_hidden_vectors_and_gates_are_the_equations():
    model, x = build_state("gru(layers=2)").double(), torch.randn(3, 7, 16).double()
    hidden, gates = cells.gru(model.cell, x)
    torch.testing.assert_close(model(x)[0], hidden)
    assert isinstance(model, HasGates)
    seen = model.gates(x)
    assert seen.keys() == gates.keys()
    for name, gate in gates.items():
        torch.testing.assert_close(seen[name], gate, msg=name)


def test_gates_go_on_from_a_state():
    model, x = build_state("gru(layers=2)").double(), torch.randn(3, 7, 16).double()
    _, state = model(x[:, :3])
    for name, gate in model.gates(x[:, 3:], state).items():
        torch.testing.assert_close(gate, model.gates(x)[name][:, 3:])


def test_it_is_torchs_cell_under_copied_weights():
    model, x = build_state("gru"), torch.randn(3, 7, 16)
    cell = nn.GRUCell(16, 16)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in model.cell.state_dict().items()}
    )
    h = torch.zeros(3, 16)
    for now, then in zip(x.unbind(1), model(x)[0].unbind(1), strict=True):
        h = cell(now, h)
        torch.testing.assert_close(then, h)


def test_an_update_gate_of_one_keeps_the_state():
    model = GRU(width=16, update_bias=50.0)
    before = torch.randn(2, 1, 16)
    _, after = model(torch.randn(2, 9, 16), before)
    torch.testing.assert_close(after, before)
