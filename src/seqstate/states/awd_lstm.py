"""AWD-LSTM: an LSTM that forgets single connections while it learns, for small corpora.

Merity et al. 2018 (https://arxiv.org/abs/1708.02182): in training some of the hidden-to-hidden weights are
zero (DropConnect, one draw a window), and the vectors between layers lose the same numbers at every step of
a window (variational dropout, Gal & Ghahramani 2016). In evaluation it is torch's LSTM.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.model import HasGates, StateModel
from seqstate.core.state import State
from seqstate.states._cells import gate_inputs, read_layer, weights_of


class AWDLSTM(StateModel, HasGates):
    """weight_drop: share of recurrent weights dropped. dropout: of each layer's output, fixed over time.

    residual: a layer's input is added to its output, which helps stacks of more than three.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 3,
        dropout: float = 0.3,
        weight_drop: float = 0.5,
        residual: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.dropout, self.weight_drop, self.residual = dropout, weight_drop, residual
        self.cell = nn.LSTM(width, width, layers, batch_first=True)
        with torch.no_grad():
            for layer in range(layers):
                _, _, bias_input, bias_hidden = weights_of(self.cell, layer)
                bias_hidden.zero_()
                bias_input.zero_()[width : 2 * width] = forget_bias

    def init_state(self, batch_size: int) -> State:
        zeros = next(self.parameters()).new_zeros(batch_size, self.layers, self.width)
        return {"hidden": zeros, "cell": zeros.clone()}

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        after = []
        for start, weights in self._layers(x.shape[0], state):
            weights[1] = F.dropout(weights[1], self.weight_drop, self.training)
            hidden, last = read_layer(x, start, weights, lengths)
            after.append(last)
            x = self._next(x, hidden)
        hidden, cell = (torch.cat(part).transpose(0, 1) for part in zip(*after, strict=True))
        return x, {"hidden": hidden, "cell": cell}

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N D"]]:
        """The `input`, `forget` and `output` gates of every layer, no weight dropped."""
        given = []
        for start, weights in self._layers(x.shape[0], state):
            squashed, hidden = gate_inputs(x, start, weights)
            given.append(squashed)
            x = self._next(x, hidden)
        enter, forget, _, leave = torch.stack(given, 2).sigmoid().chunk(4, -1)
        return {"input": enter, "forget": forget, "output": leave}

    def _layers(self, batch_size: int, state: State | None):
        """Each layer's state [1, B, D] and weights."""
        state = self.init_state(batch_size) if state is None else state
        for layer in range(self.layers):
            start = tuple(state[part][:, layer][None] for part in ("hidden", "cell"))
            yield start, weights_of(self.cell, layer)

    def _next(self, x: Tensor, hidden: Tensor) -> Tensor:
        hidden = hidden + x if self.residual else hidden
        if not self.training or not self.dropout:
            return hidden
        return hidden * F.dropout(torch.ones_like(hidden[:, :1]), self.dropout)
