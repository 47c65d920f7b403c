"""GRU: a vector whose numbers are each kept or replaced through a gate.

Cho et al. 2014 (https://arxiv.org/abs/1406.1078); computed by torch.nn.GRU, whose candidate resets the state
after its matrix. An update gate of 1 keeps, of 0 replaces.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import HasGates, StateModel
from seqstate.core.recurrent import read_packed
from seqstate.core.state import State
from seqstate.states._cells import stacked_gate_inputs


class GRU(StateModel, HasGates):
    """layers: stacked cells of `width`. dropout: between layers. update_bias: start of the update gate."""

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
        update_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.cell = nn.GRU(
            width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        with torch.no_grad():
            for layer in range(layers):
                # torch adds two biases; gates are ordered reset, update, candidate
                getattr(self.cell, f"bias_hh_l{layer}").zero_()
                bias = getattr(self.cell, f"bias_ih_l{layer}").zero_()
                bias[width : 2 * width] = update_bias

    def init_state(self, batch_size: int) -> State:
        return next(self.parameters()).new_zeros(batch_size, self.layers, self.width)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        before = self._layers_first(x.shape[0], state)
        hidden, last = read_packed(self.cell, x, before, lengths)
        return hidden, last.transpose(0, 1)

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N D"]]:
        """The `reset` and `update` gates of every layer."""
        given = stacked_gate_inputs(self.cell, x, (self._layers_first(x.shape[0], state),))
        reset, update, _ = given.sigmoid().chunk(3, -1)
        return {"reset": reset, "update": update}

    def _layers_first(self, batch_size: int, state: State | None) -> Tensor:
        state = self.init_state(batch_size) if state is None else state
        return state.transpose(0, 1).contiguous()
