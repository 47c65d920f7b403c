"""Hamming RNN: feature vectors, each kept, written or erased by gates after a comparison.

The state is G features of K numbers (D = G K). At each step feature g meets its candidate c_g, a linear map
of the input, and is compared with it by the energy of `multi_hamming`, or by a distance (`rbf`'s):

    miss_g = sigmoid(-(a_g <c_g, s_g> / sqrt K + b_g))   or   sigmoid(a_g |c_g - s_g|^2 / (2 sqrt K) - b_g)
    update_g, write_g, read_g = sigmoid((linear of the input + v miss_g) / temperature)
    s_g = (1 - update_g) s_g + update_g write_g c_g                hidden_g = read_g s_g

so a feature is kept (no update), written (update and write) or erased (update without write), and never
grows beyond its candidates; temperature 0 makes bits of the gates, with straight-through gradients. Layers
are stacked as minGRU's are: a normalisation and a short convolution, here over candidates and arguments of
gates, before the cell, and an MLP after it, on residual paths.

The idea: catsmile.info/3002 (2022). Gates that hold long from the start: Tallec & Ollivier 2018
(https://arxiv.org/abs/1804.11188), here with horizons even in the logarithm. Gates that may keep and write at
once, so that features add up without bound as an LSTM's cell does, read held-out characters far worse.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.model import HasGates, StateModel, last_real
from seqstate.core.state import State
from seqstate.states._feature_scan import feature_scan
from seqstate.states._mlp import MLP
from seqstate.states._scan import linear_scan
from seqstate.states._short_convolution import newest, short_convolution

GATES = {1: ("update",), 2: ("update", "read"), 3: ("update", "write", "read")}
COMPARISONS = ("none", "read", "inner", "distance")


class HammingRNN(StateModel, HasGates):
    """groups: features G, which divide `width`. gates: 3; 2 never erases; 1 also reads all.

    compare: `read` lets the miss, of an inner product, act on the read gate alone, and `none` on none, so
    that a text is read by a scan; `inner` or `distance` on every gate, step after step.
    temperature: of the gates; 0: bits. horizon: steps the most patient feature keeps at the start (2: all
    alike). convolution: inputs a step sees. dropout: after each cell and each MLP.

    State: `features` [B, N, K, G], and `recent` [B, N, convolution - 1, D + gates G], still in sight.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 1,
        groups: int = 16,
        gates: int = 3,
        compare: str = "read",
        temperature: float = 1.0,
        horizon: int = 64,
        convolution: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(width, groups, gates, compare, temperature, horizon, convolution)
        self.width, self.groups, self.convolution = width, groups, convolution
        self.layers = nn.ModuleList(
            Layer(width, layers, groups, gates, compare, temperature, horizon, convolution, dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.echo = nn.Parameter(torch.ones(width))

    def init_state(self, batch_size: int) -> State:
        weight, shape = self.norm.weight, (batch_size, len(self.layers))
        seen = self.layers[0].project.out_features
        return {
            "features": weight.new_zeros(*shape, self.width // self.groups, self.groups),
            "recent": weight.new_zeros(*shape, self.convolution - 1, seen),
        }

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        state = self.init_state(x.shape[0]) if state is None else state
        features, recent, given = [], [], x
        for i, layer in enumerate(self.layers):
            step = layer.read(x, state["recent"][:, i], state["features"][:, i])
            features.append(last_real(step.states, lengths))
            recent.append(newest(step.seen, self.convolution - 1, lengths))
            x = layer.write(x, step.hidden)
        after = torch.stack(features, 1).unflatten(-1, (-1, self.groups))
        # a tied word table would take the input that the residual path carries for the next word
        return self.norm(x - self.echo * given), {
            "features": after,
            "recent": torch.stack(recent, 1),
        }

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N G"]]:
        """The `update`, `write` and `read` gates of every layer, as far as it has them."""
        state = self.init_state(x.shape[0]) if state is None else state
        layers = []
        for i, layer in enumerate(self.layers):
            step = layer.read(x, state["recent"][:, i], state["features"][:, i])
            layers.append(step.gates)
            x = layer.write(x, step.hidden)
        gates = torch.stack(layers, 2)  # B T N Z G
        names = GATES[gates.shape[3]]
        return {name: gates[:, :, :, i] for i, name in enumerate(names)}


class Reading(NamedTuple):
    """What one layer makes of a text. W = C + T; Z gates."""

    seen: Float[Tensor, "B W P"]  # inputs of the convolution, with those before them
    states: Float[Tensor, "B T D"]
    hidden: Float[Tensor, "B T D"]
    gates: Float[Tensor, "B T Z G"]


class Layer(nn.Module):
    """x + read(features), then x + MLP."""

    def __init__(
        self,
        width: int,
        layers: int,
        groups: int,
        gates: int,
        compare: str,
        temperature: float,
        horizon: int,
        convolution: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width, self.groups, self.gates, self.compare = width, groups, gates, compare
        self.dropout = dropout
        self.hard, self.sharp = temperature == 0, 1 / (temperature or 1.0)
        self.norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, width + gates * groups, bias=False)
        taps = 0.4 * torch.randn(convolution, width + gates * groups)
        taps[-1] = 0
        self.taps = nn.Parameter(taps)
        self.bias = nn.Parameter(torch.zeros(width + gates * groups))
        self.mlp = MLP(width, 2 * width)
        if compare != "none":
            self.a, self.b = nn.Parameter(torch.ones(groups)), nn.Parameter(torch.zeros(groups))
            moved = ["read"] if compare == "read" else GATES[gates]
            # a miss is written over and not read
            start = torch.tensor([-1.0 if name == "read" else 1.0 for name in moved])
            self.v = nn.Parameter(start[:, None].repeat(1, groups))
        with torch.no_grad():
            self.mlp.down.weight.normal_(std=1.5 / math.sqrt(2 * width * layers))
            self._start_gates(horizon)

    def _start_gates(self, horizon: int) -> None:
        """Features are addressed by a random code of words, and have it from the word before the newest.

        A feature is updated where the earlier word has its bit and read where the newest one has: so what
        follows a word is found at its next occurrence. Without this start short training recalls no pairs.
        """
        width, groups = self.width, self.groups
        code = torch.randn(groups, width) * (2 / math.sqrt(width))
        rows = self.project.weight[width:].unflatten(0, (-1, groups))
        bias = self.bias[width:].view(-1, groups)
        rows[0] = code
        bias[0] = -_patience(horizon, groups) / self.sharp
        if self.gates > 1:
            rows[-1] = code
        if self.gates > 2:
            bias[1] = 1.0 / self.sharp  # writes rather than erases
        if self.compare != "none":
            bias[-len(self.v) :] -= self.v / 2  # half a miss leaves the gates where they are
        self.taps[:, width:] = 0.05 * torch.randn_like(self.taps[:, width:])
        self.taps[-1] += 1
        if len(self.taps) > 1:
            self.taps[-2:, width : width + groups] = self.taps[-2:, width : width + groups].flip(0)

    def read(
        self,
        x: Float[Tensor, "B T D"],
        recent: Float[Tensor, "B C P"],
        start: Float[Tensor, "B K G"],
    ) -> Reading:
        """The features after every step, and how they came about."""
        seen = torch.cat([recent, self.project(self.norm(x)).to(recent.dtype)], 1)
        mixed = short_convolution(seen, self.taps) + self.bias
        candidate = mixed[..., : self.width].unflatten(-1, (-1, self.groups))  # B T K G
        given = self.sharp * mixed[..., self.width :].unflatten(-1, (-1, self.groups))  # B T Z G
        if self.compare in ("none", "read"):
            states, miss, changing = self._by_scan(candidate, given, start)
        else:
            states, miss, changing = self._by_features(candidate, given, start)
        if self.gates == 1:
            return Reading(seen, states.flatten(2), states.flatten(2), changing)
        asked = given[:, :, -1:]
        if miss is not None:
            asked = asked + self.sharp * self.v[-1] * miss[:, :, None]
        read = self._squash(asked)
        hidden = (read * states).flatten(2)
        return Reading(seen, states.flatten(2), hidden, torch.cat([changing, read], 2))

    def write(self, x: Float[Tensor, "B T D"], h: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What the next layer reads."""
        x = x + F.dropout(h, self.dropout, self.training)
        return x + F.dropout(self.mlp(x), self.dropout, self.training)

    def _by_scan(self, candidate: Tensor, given: Tensor, start: Tensor):
        """States, misses and changing gates where the gates see the input alone."""
        changing = self._squash(given[:, :, : max(1, self.gates - 1)])
        update = changing[:, :, :1].expand_as(candidate)
        written = update * candidate * changing[:, :, 1:] if self.gates == 3 else update * candidate
        states = linear_scan((1 - update).flatten(2), written.flatten(2), start.flatten(1))
        states = states.view_as(candidate)
        if self.compare == "none":
            return states, None, changing
        before = torch.cat([start[:, None], states[:, :-1]], 1)
        likeness = (candidate * before).sum(2)
        return states, torch.sigmoid(self._scale() * likeness - self.b), changing

    def _by_features(self, candidate: Tensor, given: Tensor, start: Tensor):
        """The same where the miss acts on keeping and writing: one step after another."""
        batch, _, _, groups = candidate.shape
        changing = given[:, :, : max(1, self.gates - 1)]
        v = self.sharp * self.v[: changing.shape[2]]
        rows = [part.repeat(batch) for part in (self._scale(), -self.b)]
        states, miss = feature_scan(
            _time_first(candidate),
            _time_first(changing),
            start.transpose(0, 1).flatten(1),
            *rows,
            v.repeat(1, batch),
            distance=self.compare == "distance",
            hard=self.hard,
        )
        states = states.unflatten(-1, (batch, groups)).permute(2, 0, 1, 3)
        miss = miss.unflatten(-1, (batch, groups)).transpose(0, 1)
        return states, miss, self._squash(changing + v * miss[:, :, None])

    def _scale(self) -> Float[Tensor, " G"]:
        """What one unit of likeness, or of squared distance, adds to a miss before its sigmoid."""
        unit = math.sqrt(self.width // self.groups)
        return self.a / (2 * unit) if self.compare == "distance" else -self.a / unit

    def _squash(self, given: Tensor) -> Tensor:
        soft = given.sigmoid()
        return (soft > 0.5).to(soft.dtype) + (soft - soft.detach()) if self.hard else soft


def _patience(horizon: int, groups: int) -> Float[Tensor, " G"]:
    """log(n_g - 1), the argument of a gate that keeps 1 - 1 / n_g: n from 2 to the horizon, log-evenly."""
    return (torch.logspace(math.log10(2), math.log10(horizon), groups) - 1).log()


def _time_first(x: Float[Tensor, "B T X G"]) -> Float[Tensor, "T X R"]:
    """Rows and features side by side: R = B G."""
    return x.permute(1, 2, 0, 3).flatten(2)


def _check(width, groups, gates, compare, temperature, horizon, convolution) -> None:
    if groups < 1 or width % groups:
        near = math.gcd(width, max(groups, 1))
        raise ValueError(f"width {width} is not a multiple of groups {groups}; try groups={near}")
    if gates not in GATES:
        raise ValueError(f"gates is {gates}; wanted 1 to 3: update, read, write")
    if compare not in COMPARISONS:
        raise ValueError(f"compare={compare!r}; there are {', '.join(COMPARISONS)}")
    if compare == "read" and gates == 1:
        raise ValueError(
            "compare='read' acts on the read gate, which gates=1 has not; wanted 2 or 3"
        )
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}; wanted 0 (bits) or more")
    if horizon < 2:
        raise ValueError(f"horizon is {horizon}; wanted at least 2 steps, a gate half open")
    if convolution < 1:
        raise ValueError(f"convolution is {convolution}; wanted at least 1, the input alone")
