"""AWD-LSTM: an LSTM in evaluation; in training whole connections and whole numbers are dropped."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state
from reference import cells

from seqstate.states import AWDLSTM, LSTM


def test_in_evaluation_it_is_an_lstm():
    plain, x = build_state("lstm(layers=3)"), torch.randn(3, 7, 16)
    model = AWDLSTM(width=16, layers=3).eval()
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(model(x)[0], plain(x)[0])
    for name, gate in plain.gates(x).items():
        torch.testing.assert_close(model.gates(x)[name], gate)


def test_residual_stacks_are_the_equations():
    model = build_state("awd_lstm(layers=3, residual=True)").double()
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    hidden, last, gates = cells.lstm(model.cell, x, residual=True)
    read, state = model(x)
    torch.testing.assert_close(read, hidden)
    torch.testing.assert_close(state["cell"], last)
    torch.testing.assert_close(model.gates(x)["forget"], gates["forget"])


def test_dropped_numbers_stay_dropped_through_the_window():
    model = AWDLSTM(width=64, layers=1, dropout=0.5, weight_drop=0.0).train()
    hidden, _ = model(torch.randn(4, 9, 64))
    gone = hidden == 0
    assert torch.equal(gone.all(1), gone.any(1))
    assert 0.3 < gone.any(1).float().mean() < 0.7
    assert not torch.equal(gone[0], gone[1])


def test_dropped_weights_are_drawn_anew_and_scaled_to_keep_the_mean():
    model = AWDLSTM(width=16, layers=1, dropout=0.0, weight_drop=0.5).train()
    x, state = torch.randn(1, 1, 16), {"hidden": torch.rand(1, 1, 16), "cell": torch.rand(1, 1, 16)}
    with torch.no_grad():
        for bias in (model.cell.bias_ih_l0, model.cell.bias_hh_l0):
            bias.zero_()
        for weight in (model.cell.weight_ih_l0, model.cell.weight_hh_l0):
            weight.mul_(0.05)  # small enough that the cell is nearly linear
        draws = torch.stack([model(x, state)[1]["cell"] for _ in range(400)])
        wanted = model.eval()(x, state)[1]["cell"]
    assert draws.std(0).max() > 1e-4
    torch.testing.assert_close(draws.mean(0), wanted, atol=1e-3, rtol=1e-3)


def test_without_recurrence_weight_drop_changes_nothing():
    model = AWDLSTM(width=16, layers=1, dropout=0.0, weight_drop=0.5).train()
    x = torch.randn(2, 1, 16)  # one step from a zero state: no hidden vector to multiply
    torch.testing.assert_close(model(x)[0], model.eval()(x)[0])


@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_short_rows_in_training_are_read_to_their_ends(weight_drop):
    model = AWDLSTM(width=16, layers=2, dropout=0.0, weight_drop=weight_drop).train()
    x, lengths = torch.randn(3, 7, 16), torch.tensor([4, 7, 1])
    torch.manual_seed(3)
    hidden, state = model(x, lengths=lengths)
    torch.manual_seed(3)
    whole, _ = model(x)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(hidden[row, :length], whole[row, :length])
        torch.testing.assert_close(state["hidden"][row, -1], whole[row, length - 1])


def test_a_plain_lstm_has_the_same_parameters():
    assert AWDLSTM(width=16).state_dict().keys() == LSTM(width=16, layers=3).state_dict().keys()
