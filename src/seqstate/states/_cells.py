"""torch's recurrent cells layer by layer: with weights of one's own, and with their gates in sight."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Start = tuple[Tensor, ...]  # (hidden,) of a GRU or (hidden, cell) of an LSTM, each [1, B, D]
Weights = list[Tensor]  # of the input, of the hidden vector, and a bias for each


def weights_of(cell: nn.LSTM | nn.GRU, layer: int) -> Weights:
    """The parameters of one layer, in torch's order."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(cell, f"{name}_l{layer}") for name in names]


def read_layer(
    x: Float[Tensor, "B T D"], start: Start, weights: Weights, lengths: Int[Tensor, " B"] | None
) -> tuple[Float[Tensor, "B T H"], Start]:
    """One layer of torch's kernel; padding past `lengths` is not read."""
    if lengths is None:
        hidden, *last = _kernel(start)(x, _given(start), weights, *_PLAIN, True)
        return hidden, tuple(last)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    start = tuple(part.index_select(1, packed.sorted_indices) for part in start)
    data, *last = _kernel(start)(packed.data, packed.batch_sizes, _given(start), weights, *_PLAIN)
    hidden, _ = pad_packed_sequence(
        packed._replace(data=data), batch_first=True, total_length=x.shape[1]
    )
    return hidden, tuple(part.index_select(1, packed.unsorted_indices) for part in last)


def gate_inputs(
    x: Float[Tensor, "B T D"], start: Start, weights: Weights
) -> tuple[Float[Tensor, "B T Z"], Float[Tensor, "B T H"]]:
    """What one layer's gates squash at every step, in torch's order, and its hidden vectors."""
    hidden, _ = read_layer(x, start, weights, None)
    earlier = torch.cat([start[0].transpose(0, 1), hidden[:, :-1]], 1)
    of_input, of_hidden, bias_input, bias_hidden = weights
    given = F.linear(x, of_input, bias_input) + F.linear(earlier, of_hidden, bias_hidden)
    return given, hidden


def stacked_gate_inputs(
    cell: nn.LSTM | nn.GRU, x: Float[Tensor, "B T D"], before: tuple[Float[Tensor, "N B H"], ...]
) -> Float[Tensor, "B T N Z"]:
    """`gate_inputs` of every layer of a stack; dropout between layers is left out."""
    layers = []
    for layer in range(cell.num_layers):
        start = tuple(part[layer : layer + 1].contiguous() for part in before)
        given, x = gate_inputs(x, start, weights_of(cell, layer))
        layers.append(given)
    return torch.stack(layers, 2)


_PLAIN = (True, 1, 0.0, False, False)  # with biases, one layer, no dropout, not training, one way


def _kernel(start: Start):
    return torch.lstm if len(start) == 2 else torch.gru


def _given(start: Start) -> Start | Tensor:
    return start if len(start) == 2 else start[0]
