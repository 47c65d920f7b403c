"""Gated cells one step and one layer at a time, in the papers' equations."""

from __future__ import annotations

import torch
from torch import Tensor


def lstm(cell, x: Tensor, residual: bool = False) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Hidden vectors [B, T, D], last cells [B, N, D] and gates [B, T, N, D] of a torch.nn.LSTM."""
    gates = {"input": [], "forget": [], "output": []}
    cells = []
    for layer in range(cell.num_layers):
        h, c = x.new_zeros(2, x.shape[0], cell.hidden_size)
        hidden, here = [], {name: [] for name in gates}
        for now in x.unbind(1):
            i, f, g, o = _given(cell, layer, now, h)[0].chunk(4, -1)
            i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
            c = f * c + i * g.tanh()
            h = o * c.tanh()
            hidden.append(h)
            for name, gate in (("input", i), ("forget", f), ("output", o)):
                here[name].append(gate)
        x = torch.stack(hidden, 1) + (x if residual else 0)
        cells.append(c)
        for name in gates:
            gates[name].append(torch.stack(here[name], 1))
    return x, torch.stack(cells, 1), {name: torch.stack(part, 2) for name, part in gates.items()}


def gru(cell, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Hidden vectors [B, T, D] and gates [B, T, N, D] of a torch.nn.GRU."""
    gates = {"reset": [], "update": []}
    for layer in range(cell.num_layers):
        h = x.new_zeros(x.shape[0], cell.hidden_size)
        hidden, here = [], {name: [] for name in gates}
        for now in x.unbind(1):
            _, of_input, of_hidden = _given(cell, layer, now, h)
            parts = zip(of_input.chunk(3, -1), of_hidden.chunk(3, -1), strict=True)
            (r_x, r_h), (z_x, z_h), (n_x, n_h) = parts
            r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
            h = z * h + (1 - z) * (n_x + r * n_h).tanh()
            hidden.append(h)
            here["reset"].append(r)
            here["update"].append(z)
        x = torch.stack(hidden, 1)
        for name in gates:
            gates[name].append(torch.stack(here[name], 1))
    return x, {name: torch.stack(part, 2) for name, part in gates.items()}


def _given(cell, layer: int, now: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights = {name: getattr(cell, f"{name}_l{layer}") for name in _NAMES}
    of_input = now @ weights["weight_ih"].T + weights["bias_ih"]
    of_hidden = h @ weights["weight_hh"].T + weights["bias_hh"]
    return of_input + of_hidden, of_input, of_hidden


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
