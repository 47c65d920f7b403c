"""The Hamming RNN by its definition: one row, one step, one feature at a time, in plain numbers' order."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def hamming_rnn(model, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Hidden vectors [B, T, D], last features [B, N, K, G] and gates [B, T, N, G] of every name."""
    given, features, gates = x, [], []
    for layer in model.layers:
        rows = [_row(layer, row) for row in x]
        x = x + torch.stack([hidden for hidden, _, _ in rows])
        features.append(torch.stack([last for _, last, _ in rows]))
        gates.append({name: torch.stack([row[2][name] for row in rows]) for name in rows[0][2]})
        wide = F.layer_norm(x, x.shape[-1:], layer.mlp.norm.weight) @ layer.mlp.up.weight.T
        x = x + wide.relu().square() @ layer.mlp.down.weight.T
    hidden = F.layer_norm(x - model.echo * given, x.shape[-1:], model.norm.weight)
    named = {name: torch.stack([layer[name] for layer in gates], 2) for name in gates[0]}
    return hidden, torch.stack(features, 1), named


def _row(layer, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One row [T, D] through one cell: hidden [T, D], last features [K, G], gates [T, G]."""
    width, count = x.shape[-1], layer.groups
    projected = F.layer_norm(x, (width,), layer.norm.weight) @ layer.project.weight.T
    features = [x.new_zeros(width // count) for _ in range(count)]
    hidden, gates = [], []
    for t in range(len(x)):
        mixed = layer.bias + sum(
            projected[t - j] * tap for j, tap in enumerate(layer.taps.flip(0)) if j <= t
        )
        candidates = mixed[:width].view(-1, count)
        out, row = torch.zeros_like(candidates), []
        for g in range(count):
            asked = {n: mixed[width + i * count + g] for i, n in enumerate(_names(layer))}
            moved = _step(layer, g, candidates[:, g], features[g], asked)
            features[g], values = moved
            out[:, g] = values.get("read", 1.0) * features[g]
            row.append(torch.stack([values[name] for name in asked]))
        hidden.append(out.flatten())
        gates.append(torch.stack(row, 1))  # gates by features
    stacked = torch.stack(gates)
    named = {name: stacked[:, i] for i, name in enumerate(_names(layer))}
    return torch.stack(hidden), torch.stack(features, 1), named


def _names(layer) -> tuple[str, ...]:
    return (("update",), ("update", "read"), ("update", "write", "read"))[layer.gates - 1]


def _step(layer, g: int, c: Tensor, s: Tensor, asked: dict[str, Tensor]):
    """One feature: its vector afterwards and its gates by name."""
    if layer.compare != "none":
        unit = math.sqrt(len(c))
        if layer.compare == "distance":
            miss = torch.sigmoid(layer.a[g] * (c - s).square().sum() / (2 * unit) - layer.b[g])
        else:
            miss = torch.sigmoid(-(layer.a[g] * (c @ s) / unit + layer.b[g]))
        moved = ["read"] if layer.compare == "read" else list(asked)
        asked = dict(asked)
        for row, name in enumerate(moved):
            asked[name] = asked[name] + layer.v[row, g] * miss
    if layer.hard:
        values = {name: (z > 0).to(z.dtype) for name, z in asked.items()}
    else:
        values = {name: torch.sigmoid(layer.sharp * z) for name, z in asked.items()}
    update, write = values["update"], values.get("write", 1.0)
    return (1 - update) * s + update * write * c, values
