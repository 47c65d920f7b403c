"""The stack of layers, its bounded state, and the graphs and lengths it can show."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import HasGraph, HasLengths, ReadsBothWays, StateModel
from seqstate.core.state import State
from seqstate.states import _attention_cache as cache
from seqstate.states._attention_layer import Layer, Place, Shape
from seqstate.states._attention_picks import Picker
from seqstate.states._attention_positions import Positions, distances

PIECE = 256  # tokens read at once under a window: memory grows with the window, not with the text


class AttentionStack(StateModel, HasGraph, HasLengths, ReadsBothWays):
    """Abstract: a part chooses the shape, the positions and how scores become edges.

    picker: from scores to edge weights (None: softmax).
    State: `keys` and `values`, each a tuple over layers of [B, S, Hkv, K] with the newest token last
    (S <= window - 1); `read` [B], the tokens each row has read; `seed` [B] where graphs are drawn.
    """

    def __init__(self, shape: Shape, positions: str, picker: Picker | None = None) -> None:
        super().__init__()
        self.width, self.shape = shape.width, shape
        self.drawn = picker is not None and picker.drawn
        self.positions = Positions(positions, shape.heads, shape.head_width, shape.window)
        self.layers = nn.ModuleList(Layer(shape, i, picker) for i in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, bias=False)

    def init_state(self, batch_size: int) -> State:
        weight = self.norm.weight
        empty = weight.new_zeros(batch_size, 0, self.shape.kv_heads, self.shape.head_width)
        per_layer = tuple(empty for _ in self.layers)
        read = torch.zeros(batch_size, dtype=torch.int64, device=weight.device)
        state = {"keys": per_layer, "values": per_layer, "read": read}
        if self.drawn:
            state["seed"] = torch.randint_like(read, 1 << 31) if self.training else read.clone()
        return state

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        piece = max(PIECE, self.shape.window) if self.shape.window else x.shape[1]
        if x.shape[1] <= piece:
            return self._read_piece(x, state, lengths)
        hidden = []
        for start in range(0, x.shape[1], piece):
            part = x[:, start : start + piece]
            left = None if lengths is None else (lengths - start).clamp(0, part.shape[1])
            out, state = self._read_piece(part, state, left)
            hidden.append(out)
        return torch.cat(hidden, 1), state

    def both_ways(
        self, x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Every token picks among the `window` nearest on either side, itself included: BERT's encoder
        (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) in place of a decoder. Memory grows as T^2.
        """
        state, time = self.init_state(x.shape[0]), x.shape[1]
        distance = distances(time, time, x)
        visible = (distance.abs() < (self.shape.window or time))[None]
        if lengths is not None:
            real = torch.arange(time, device=x.device) < lengths[:, None]
            # padding sees itself: a row of weights that are all 0 / 0 would spoil every gradient
            visible = visible & real[:, None] | (distance == 0)
        bias = x.new_zeros(()).masked_fill(~visible, -torch.inf)[:, None]
        given = self.positions.bias(time, time, x)
        place = Place(
            self.positions.turn(time, None, x),
            bias if given is None else given + bias,
            False,
            state["read"],
            state.get("seed"),
        )
        for layer, past in zip(self.layers, _per_layer(state), strict=True):
            x, _ = layer(x, past, place)
        return self.norm(x)

    def graph(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "N B H T T"]:
        """Edge weights per layer and head, as `forward` uses them when it reads x from the start."""
        edges = []
        for layer, entering, place in self._walk(x):
            query, key, _ = layer.read(entering, place)
            edges.append(layer.weights(query, key, place))
        return torch.stack(edges)

    def lengths_of(self, x: Float[Tensor, "B T D"]) -> dict[str, Float[Tensor, "N B _ T"]]:
        """Norms of `query` and `key` vectors per layer and head, before any normalisation."""
        projected = torch.stack([layer.project_heads(x) for layer, x, _ in self._walk(x)])
        norms = projected.norm(dim=-1).transpose(2, 3)
        heads, shared = self.shape.heads, self.shape.kv_heads
        return {"query": norms[:, :, :heads], "key": norms[:, :, heads : heads + shared]}

    def _walk(self, x: Tensor) -> Iterator[tuple[Layer, Tensor, Place]]:
        """Every layer with what it reads, from the start."""
        state = self.init_state(x.shape[0])
        place = self._place(x, state)
        for layer, past in zip(self.layers, _per_layer(state), strict=True):
            yield layer, x, place
            x, _ = layer(x, past, place)

    def _read_piece(
        self, x: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        state = self.init_state(x.shape[0]) if state is None else state
        place, time = self._place(x, state), x.shape[1]
        reach = self.shape.window - 1 if self.shape.window else state["keys"][0].shape[1] + time
        kept = []
        for layer, past in zip(self.layers, _per_layer(state), strict=True):
            x, seen = layer(x, past, place)
            kept.append([cache.keep(part, time, reach, lengths) for part in seen])
        keys, values = zip(*kept, strict=True)
        read = state["read"] + (time if lengths is None else lengths)
        return self.norm(x), {**state, "keys": keys, "values": values, "read": read}

    def _place(self, x: Tensor, state: State) -> Place:
        time, window, slots = x.shape[1], self.shape.window, state["keys"][0].shape[1]
        read = state["read"] if slots else None
        bias = self.positions.bias(time, slots + time, x)
        causal = not slots and 1 < time <= (window or time) and bias is None
        visible = None if causal else cache.mask(time, window, slots, read, x)
        if visible is not None:
            hidden = x.new_zeros(()).masked_fill(~visible, -torch.inf)[:, None]
            bias = hidden if bias is None else bias + hidden
        turn = self.positions.turn(time, read, x)
        return Place(turn, bias, causal, state["read"], state.get("seed"))


def _per_layer(state: State) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(state["keys"], state["values"], strict=True)
