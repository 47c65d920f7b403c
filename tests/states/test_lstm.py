"""LSTM: torch's kernel is the paper's equations, and its gates can be seen."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import build_state
from reference import cells
from torch import nn

from seqstate.core.model import HasGates
from seqstate.states import LSTM


def test_hidden_vectors_cells_and_gates_are_the_equations():
    model, x = build_state("lstm(layers=2)").double(), torch.randn(3, 7, 16).double()
    hidden, last, gates = cells.lstm(model.cell, x)
    read, state = model(x)
    torch.testing.assert_close(read, hidden)
    torch.testing.assert_close(state["cell"], last)
    assert isinstance(model, HasGates)
    seen = model.gates(x)
    assert seen.keys() == gates.keys()
    for name, gate in gates.items():
        torch.testing.assert_close(seen[name], gate, msg=name)


def test_gates_go_on_from_a_state():
    model, x = build_state("lstm(layers=2)").double(), torch.randn(3, 7, 16).double()
    _, state = model(x[:, :3])
    for name, gate in model.gates(x[:, 3:], state).items():
        torch.testing.assert_close(gate, model.gates(x)[name][:, 3:])


def test_it_is_torchs_cell_under_copied_weights():
    model, x = build_state("lstm"), torch.randn(3, 7, 16)
    cell = nn.LSTMCell(16, 16)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in model.cell.state_dict().items()}
    )
    h, c = torch.zeros(2, 3, 16)
    for now, then in zip(x.unbind(1), model(x)[0].unbind(1), strict=True):
        h, c = cell(now, (h, c))
        torch.testing.assert_close(then, h)


def test_a_fresh_forget_gate_keeps():
    gates = LSTM(width=16, forget_bias=5.0).gates(torch.zeros(1, 4, 16))
    assert gates["forget"].min() > 0.98
    torch.testing.assert_close(gates["input"], torch.full((1, 4, 1, 16), 0.5), atol=0.1, rtol=0)


@given(
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    spec=st.sampled_from(
        ["lstm(layers=2)", "gru(layers=2)", "rnn", "awd_lstm(layers=2)", "min_gru(layers=2)"]
    ),
)
def test_any_cuts_give_the_whole_for_every_gated_state(cuts, spec):
    torch.manual_seed(1)
    model = build_state(spec).double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        whole, _ = model(x)
        state, parts = model.init_state(2), []
        for part in x.split(cuts, 1):
            out, state = model(part, state)
            parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=1e-10)
