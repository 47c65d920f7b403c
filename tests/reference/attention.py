"""Attention by loops over batch, head, query and key, in the formulas' own words."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def hidden_and_graph(model, x: Tensor, pick=None) -> tuple[Tensor, Tensor]:
    """What an attention state should give for x from the start, and its edges [N, B, H, T, T].

    pick(scores of one query over its visible keys) -> weights; None: softmax.
    """
    graphs = []
    for layer in model.layers:
        normed = F.layer_norm(x, (model.width,), layer.norm.weight)
        mixed, graph = _attend(model, layer, normed, pick or (lambda scores: scores.softmax(-1)))
        graphs.append(graph)
        x = x + mixed @ layer.out.weight.T
        normed = F.layer_norm(x, (model.width,), layer.mlp.norm.weight)
        x = x + F.relu(normed @ layer.mlp.up.weight.T).square() @ layer.mlp.down.weight.T
    return F.layer_norm(x, (model.width,), model.norm.weight), torch.stack(graphs)


def _attend(model, layer, x: Tensor, pick) -> tuple[Tensor, Tensor]:
    shape = model.shape
    batch, time, _ = x.shape
    heads, per, size = shape.heads, shape.heads // shape.kv_heads, shape.head_width
    at = (heads + shape.kv_heads) * size
    aimed, value = (x @ layer.project.weight.T).tensor_split([at], -1)
    mixed, graph = torch.zeros_like(x), x.new_zeros(batch, heads, time, time)
    for b in range(batch):
        for h in range(heads):
            at = slice(h * size, (h + 1) * size)
            shared = slice((h // per) * size, (h // per + 1) * size)
            queries = aimed[b, :, at]
            keys = aimed[b, :, heads * size :][:, shared]
            for t in range(time):
                first = max(0, t - shape.window + 1) if shape.window else 0
                scores = [
                    _score(model, layer, h, queries[t], keys[s], t, s) for s in range(first, t + 1)
                ]
                weights = pick(torch.stack(scores))
                graph[b, h, t, first : t + 1] = weights.detach()
                mixed[b, t, at] = weights @ value[b, first : t + 1, shared]
    return mixed, graph


def _score(model, layer, head: int, query: Tensor, key: Tensor, t: int, s: int) -> Tensor:
    beta = 1 / math.sqrt(len(query))
    if layer.log_sharpness is not None:
        query = query / (query.square().mean() + 1e-6).sqrt()
        key = key / (key.square().mean() + 1e-6).sqrt()
        beta = beta * layer.log_sharpness[head].exp()
    scheme = model.positions.scheme
    if scheme == "rotary":
        query, key = _rotated(query, t), _rotated(key, s)
    score = -beta * layer.energy(query[None], key[None])[0, 0]
    if scheme == "alibi":
        score = score - 2 ** (-8 * (head + 1) / model.shape.heads) * (t - s)
    if scheme == "learned":
        score = score + model.positions.by_distance[head, t - s]
    return score


def _rotated(vector: Tensor, position: int) -> Tensor:
    """Pair i = (2i, 2i + 1) turned by position / 10000^(2i / K) radians."""
    out = []
    for i in range(0, len(vector), 2):
        angle = position * 10000 ** (-i / len(vector))
        c, s = math.cos(angle), math.sin(angle)
        out += [vector[i] * c - vector[i + 1] * s, vector[i] * s + vector[i + 1] * c]
    return torch.stack(out)
