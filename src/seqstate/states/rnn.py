"""Elman RNN: one vector, rewritten whole at every step through tanh.

Elman 1990; computed by torch.nn.RNN.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import StateModel
from seqstate.core.recurrent import read_packed
from seqstate.core.state import State


class RNN(StateModel):
    """layers: stacked cells of `width`. dropout: between layers."""

    def __init__(self, *, width: int = 128, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.cell = nn.RNN(
            width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )

    def init_state(self, batch_size: int) -> State:
        return next(self.parameters()).new_zeros(batch_size, self.layers, self.width)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        state = self.init_state(x.shape[0]) if state is None else state
        hidden, last = read_packed(self.cell, x, state.transpose(0, 1).contiguous(), lengths)
        return hidden, last.transpose(0, 1)
