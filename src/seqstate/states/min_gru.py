"""minGRU: a GRU whose gate sees the input alone, so that a whole text is read at once by a scan.

h_t = (1 - z_t) h_{t-1} + z_t c_t with z = sigmoid(linear x) and c = linear x: Feng et al. 2024, "Were RNNs
all we needed?" (https://arxiv.org/abs/2410.01201). Stacked with a normalisation and a short convolution
before the cell, an MLP after it, and residual paths. The candidate is linear: the authors' positive one,
which their scan in log space needs and ours does not, did worse on characters.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.model import HasGates, StateModel, last_real
from seqstate.core.state import State
from seqstate.states._mlp import MLP
from seqstate.states._scan import linear_scan
from seqstate.states._short_convolution import newest, short_convolution


class MinGRU(StateModel, HasGates):
    """layers: stacked cells of `width`. convolution: inputs a gate sees, itself included.

    dropout: after each cell and each MLP.
    State: `hidden` [B, N, D], and `recent` [B, N, convolution - 1, D], the inputs still in sight.
    """

    def __init__(
        self, *, width: int = 128, layers: int = 2, convolution: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if convolution < 1:
            raise ValueError(f"convolution is {convolution}; wanted at least 1, the input alone")
        self.width, self.convolution = width, convolution
        self.layers = nn.ModuleList(
            Layer(width, layers, convolution, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, bias=False)

    def init_state(self, batch_size: int) -> State:
        weight, layers = self.norm.weight, len(self.layers)
        recent = weight.new_zeros(batch_size, layers, self.convolution - 1, self.width)
        return {"hidden": weight.new_zeros(batch_size, layers, self.width), "recent": recent}

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        state = self.init_state(x.shape[0]) if state is None else state
        hidden, recent = [], []
        for i, layer in enumerate(self.layers):
            seen, h, _ = layer.read(x, state["recent"][:, i], state["hidden"][:, i])
            hidden.append(last_real(h, lengths))
            recent.append(newest(seen, self.convolution - 1, lengths))
            x = layer.write(x, h)
        return self.norm(x), {"hidden": torch.stack(hidden, 1), "recent": torch.stack(recent, 1)}

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N D"]]:
        """The `update` gate of every layer: 1 replaces a number, 0 keeps it."""
        state = self.init_state(x.shape[0]) if state is None else state
        gates = []
        for i, layer in enumerate(self.layers):
            _, h, z = layer.read(x, state["recent"][:, i], state["hidden"][:, i])
            gates.append(z)
            x = layer.write(x, h)
        return {"update": torch.stack(gates, 2)}


class Layer(nn.Module):
    """x + cell(convolution(norm x)), then x + MLP."""

    def __init__(self, width: int, layers: int, convolution: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.taps = nn.Parameter(0.05 * torch.randn(convolution, width))
        self.project = nn.Linear(width, 2 * width)
        self.mlp = MLP(width, 2 * width)
        self.dropout = dropout
        with torch.no_grad():
            self.taps[-1] += 1  # starts with the newest input almost alone
            self.project.bias.zero_()
            self.mlp.down.weight.normal_(std=0.5 / math.sqrt(2 * width * layers))

    def read(
        self, x: Float[Tensor, "B T D"], recent: Float[Tensor, "B C D"], start: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B W D"], Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        """The inputs with those before them (W = C + T), the states, and the update gates."""
        seen = torch.cat([recent, self.norm(x)], 1)
        gate, candidate = self.project(short_convolution(seen, self.taps)).chunk(2, -1)
        z = gate.sigmoid()
        return seen, linear_scan(1 - z, z * candidate, start), z

    def write(self, x: Float[Tensor, "B T D"], h: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What the next layer reads."""
        x = x + F.dropout(h, self.dropout, self.training)
        return x + F.dropout(self.mlp(x), self.dropout, self.training)
