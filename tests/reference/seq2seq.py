"""Encoder and decoder one step at a time with torch's GRUCell, one pair at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def cells(stack: nn.GRU) -> list[nn.GRUCell]:
    """Cells that hold copies of a stack's weights."""
    made = []
    for layer in range(stack.num_layers):
        cell = nn.GRUCell(stack.input_size, stack.hidden_size).to(stack.weight_hh_l0.dtype)
        suffix = f"_l{layer}"
        own = {k: v for k, v in stack.state_dict().items() if k.endswith(suffix)}
        cell.load_state_dict({name.removesuffix(suffix): value for name, value in own.items()})
        made.append(cell)
    return made


def run(stack: list[nn.GRUCell], x: Tensor, hidden: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The top layer's vectors [T, D] over x [T, D], and every layer's last."""
    out = []
    for step in x:
        given = step[None]
        for layer, cell in enumerate(stack):
            hidden[layer] = given = cell(given, hidden[layer])
        out.append(given[0])
    return torch.stack(out), hidden


def encode_decode(model, source: Tensor, target: Tensor) -> Tensor:
    """Hidden vectors [T, D] over a target that follows a source, under a Seq2Seq's weights."""
    start = [source.new_zeros(1, model.width) for _ in range(model.layers)]
    encoded, hidden = run(cells(model.encoder), source, start)
    decoded, _ = run(cells(model.decoder), target, hidden)
    if model.pick is None:
        return decoded
    return torch.stack([luong(model.pick, h, encoded[-model.window :]) for h in decoded])


def luong(pick, hidden: Tensor, source: Tensor) -> Tensor:
    """Equations 5, 7 and 8 of Luong et al. 2015, scores over the square root of the width."""
    scores = [pick.query.weight @ hidden @ vector / math.sqrt(len(hidden)) for vector in source]
    weights = torch.stack(scores).exp()
    weights = weights / weights.sum()
    context = sum(w * vector for w, vector in zip(weights, source, strict=True))
    joined = torch.cat([context, hidden])
    return torch.tanh(pick.join.weight @ joined + pick.join.bias)
