"""A pre-norm stack around a mixer: short convolution, queries, keys and values, the mixer, an MLP.

As in `min_gru`, a convolution over the last inputs tells a token its neighbours, since what a mixer keeps of
the past has no positions. Queries and keys are normalised (Henry et al. 2020): a factored aggregate is near
the full one only if the scores are bounded (Alman & Song 2023, https://arxiv.org/abs/2302.13214).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.model import Aggregates, HasAggregates, StateModel
from seqstate.core.state import State
from seqstate.states._attention_heads import Aim, split_heads
from seqstate.states._mixer import Mixer, Shape, Tokens
from seqstate.states._mlp import MLP
from seqstate.states._short_convolution import newest, short_convolution

SPAN = 2048  # tokens that go through all layers together: more leave a processor's caches


class MixerStack(StateModel, HasAggregates):
    """Abstract: a part chooses the shape and builds the mixer of a layer.

    State: `recent` [B, N, convolution - 1, D], the inputs still in sight, and `mixed`, a dict of the
    mixer's tensors for each layer.
    """

    def __init__(self, shape: Shape, build: Callable[[], Mixer]) -> None:
        super().__init__()
        self.width, self.shape = shape.width, shape
        self.layers = nn.ModuleList(Layer(shape, build()) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, bias=False)

    def init_state(self, batch_size: int) -> State:
        recent = self.norm.weight.new_zeros(
            batch_size, len(self.layers), self.shape.convolution - 1, self.width
        )
        mixed = tuple(layer.mixer.init_state(batch_size) for layer in self.layers)
        return {"recent": recent, "mixed": mixed}

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        if x.shape[1] <= SPAN:
            return self._read_span(x, state, lengths)
        hidden = []
        for start in range(0, x.shape[1], SPAN):
            part = x[:, start : start + SPAN]
            left = None if lengths is None else (lengths - start).clamp(0, part.shape[1])
            out, state = self._read_span(part, state, left)
            hidden.append(out)
        return torch.cat(hidden, 1), state

    def _read_span(
        self, x: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        state = self.init_state(x.shape[0]) if state is None else state
        recent, after = [], []
        for i, layer in enumerate(self.layers):
            seen, tokens = layer.read(x, state["recent"][:, i], lengths)
            mixed, kept = layer.mix(tokens, state["mixed"][i])
            recent.append(newest(seen, self.shape.convolution - 1, lengths))
            after.append(kept)
            x = layer.write(x, mixed)
        return self.norm(x), {"recent": torch.stack(recent, 1), "mixed": tuple(after)}

    def aggregates(self, x: Float[Tensor, "B T D"]) -> Aggregates:
        found = []
        for _, tokens, mixed in self.walk(x):
            parts = (tokens.query, tokens.key, tokens.value, mixed)
            found.append([part.transpose(1, 2) for part in parts])
        return Aggregates(*(torch.stack(part) for part in zip(*found, strict=True)))

    def walk(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> Iterator[tuple[Mixer, Tokens, Float[Tensor, "B T H K"]]]:
        """Every layer's mixer, what it reads, and what it gives."""
        state = self.init_state(x.shape[0]) if state is None else state
        for i, layer in enumerate(self.layers):
            _, tokens = layer.read(x, state["recent"][:, i], None)
            mixed, _ = layer.mix(tokens, state["mixed"][i])
            yield layer.mixer, tokens, mixed
            x = layer.write(x, mixed)


class Layer(nn.Module):
    """x + mixer(convolution(norm x)), then x + MLP."""

    def __init__(self, shape: Shape, mixer: Mixer) -> None:
        super().__init__()
        width = shape.width
        self.shape, self.mixer = shape, mixer
        self.norm = nn.LayerNorm(width, bias=False)
        self.taps = nn.Parameter(0.05 * torch.randn(shape.convolution, width))
        self.project = nn.Linear(width, 3 * width, bias=False)
        # with queries and keys of unit mean square this starts at the usual 1 / sqrt(K)
        self.log_sharpness = nn.Parameter(
            torch.full((shape.heads,), -0.5 * math.log(shape.head_width))
        )
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = MLP(width, 2 * width)
        with torch.no_grad():
            self.taps[-1] += 1  # starts with the newest input almost alone
            for last in (self.out, self.mlp.down):  # a stack starts near the identity
                last.weight.normal_(std=0.5 / math.sqrt(last.in_features * shape.layers))

    def read(
        self,
        x: Float[Tensor, "B T D"],
        recent: Float[Tensor, "B C D"],
        lengths: Int[Tensor, " B"] | None,
    ) -> tuple[Float[Tensor, "B W D"], Tokens]:
        """The inputs with those before them (W = C + T), and the tokens."""
        seen = torch.cat([recent, self.norm(x)], 1)
        inputs = short_convolution(seen, self.taps)
        projected = self.project(inputs).view(*x.shape[:2], -1, self.shape.head_width)
        # half precision is too short for sums over a whole text
        short = projected.dtype in (torch.bfloat16, torch.float16)
        aim = Aim(self.shape.heads, self.shape.heads, True, None)
        heads = split_heads(projected.float() if short else projected, self.log_sharpness, aim)
        real = None
        if lengths is not None:
            real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return seen, Tokens(*heads, inputs, real)

    def mix(
        self, tokens: Tokens, state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "B T H K"], dict[str, Tensor]]:
        """What each token is given, in full precision, and the mixer's state."""
        device = tokens.key.device.type
        if not torch.is_autocast_enabled(device):
            return self.mixer(tokens, state)
        with torch.autocast(device, enabled=False):
            return self.mixer(tokens._replace(input=tokens.input.float()), state)

    def write(
        self, x: Float[Tensor, "B T D"], mixed: Float[Tensor, "B T H K"]
    ) -> Float[Tensor, "B T D"]:
        """What the next layer reads."""
        x = x + self._dropout(self.out(mixed.flatten(2)))
        return x + self._dropout(self.mlp(x))

    def _dropout(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        rate = self.shape.dropout
        return F.dropout(x, rate) if rate and self.training else x
