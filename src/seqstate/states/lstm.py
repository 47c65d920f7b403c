"""LSTM: a vector written through near-binary gates, beside a cell that is not bounded.

Hochreiter & Schmidhuber 1997; computed by torch.nn.LSTM.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import HasGates, StateModel
from seqstate.core.recurrent import read_packed
from seqstate.core.state import State
from seqstate.states._cells import stacked_gate_inputs


class LSTM(StateModel, HasGates):
    """layers: stacked cells of `width`. dropout: between layers. forget_bias: start of the forget gate."""

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.cell = nn.LSTM(
            width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        with torch.no_grad():
            for layer in range(layers):
                # torch adds two biases; gates are ordered input, forget, cell, output
                getattr(self.cell, f"bias_hh_l{layer}").zero_()
                bias = getattr(self.cell, f"bias_ih_l{layer}").zero_()
                bias[width : 2 * width] = forget_bias

    def init_state(self, batch_size: int) -> State:
        zeros = next(self.parameters()).new_zeros(batch_size, self.layers, self.width)
        return {"hidden": zeros, "cell": zeros.clone()}

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        before = self._layers_first(x.shape[0], state)
        hidden, (last, cell) = read_packed(self.cell, x, before, lengths)
        return hidden, {"hidden": last.transpose(0, 1), "cell": cell.transpose(0, 1)}

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N D"]]:
        """The `input`, `forget` and `output` gates of every layer."""
        given = stacked_gate_inputs(self.cell, x, self._layers_first(x.shape[0], state))
        enter, forget, _, leave = given.sigmoid().chunk(4, -1)
        return {"input": enter, "forget": forget, "output": leave}

    def _layers_first(self, batch_size: int, state: State | None) -> tuple[Tensor, Tensor]:
        state = self.init_state(batch_size) if state is None else state
        return (
            state["hidden"].transpose(0, 1).contiguous(),
            state["cell"].transpose(0, 1).contiguous(),
        )
