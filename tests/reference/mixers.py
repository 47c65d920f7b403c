"""Slots, relays and latents by loops over row, head and time, in the formulas' own words."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def read_in_parts(model, x, cuts):
    """The hidden vectors of a text that is read a few tokens at a time."""
    state, parts = None, []
    for part in x.split(cuts, 1):
        out, state = model(part, state)
        parts.append(out)
    return torch.cat(parts, 1)


def hidden_by_loops(model, x: Tensor, mix) -> Tensor:
    """What a stack of mixers should give for x from the start.

    mix(mixer, head, queries, keys, values, inputs), each [T, ...] of one row and head -> [T, K].
    """
    for layer in model.layers:
        inputs = _convolved(F.layer_norm(x, (model.width,), layer.norm.weight), layer.taps)
        rows = [_mixed(layer, row, mix) for row in inputs]
        x = x + torch.stack(rows) @ layer.out.weight.T
        normed = F.layer_norm(x, (model.width,), layer.mlp.norm.weight)
        x = x + F.relu(normed @ layer.mlp.up.weight.T).square() @ layer.mlp.down.weight.T
    return F.layer_norm(x, (model.width,), model.norm.weight)


def _convolved(u: Tensor, taps: Tensor) -> Tensor:
    """Each token with the ones before it, the last tap for itself."""
    out = []
    for t in range(u.shape[1]):
        steps = [(t - j, taps[-1 - j]) for j in range(len(taps)) if t >= j]
        out.append(sum(u[:, s] * tap for s, tap in steps))
    return torch.stack(out, 1)


def _mixed(layer, inputs: Tensor, mix) -> Tensor:
    heads, size = layer.shape.heads, layer.shape.head_width
    query, key, value = (inputs @ layer.project.weight.T).view(-1, 3, heads, size).unbind(1)
    query, key = (u / (u.square().mean(-1, keepdim=True) + 1e-6).sqrt() for u in (query, key))
    query = query * layer.log_sharpness.exp()[:, None]
    parts = [mix(layer.mixer, h, query[:, h], key[:, h], value[:, h], inputs) for h in range(heads)]
    return torch.cat(parts, -1)


def inducing(mixer, head: int, query: Tensor, key: Tensor, value: Tensor, _inputs) -> Tensor:
    """Softmax over the whole prefix for every slot, then softmax over the slots."""
    size = key.shape[-1]
    aim = mixer.queries[head]
    aim = aim / aim.norm(dim=-1, keepdim=True) * mixer.log_sharpness[head].exp() / math.sqrt(size)
    out = []
    for t in range(len(query)):
        pick = torch.stack([(p @ key[: t + 1].T).softmax(-1) for p in aim])
        share = (pick @ key[: t + 1] @ query[t]).softmax(-1)
        out.append(share @ pick @ value[: t + 1])
    return torch.stack(out)


def gated_slots(mixer, head: int, query: Tensor, key: Tensor, value: Tensor, inputs) -> Tensor:
    """One token after another is written into the slots."""
    out = []
    for t, (keys, values) in enumerate(forgetful(mixer.slots, head, key, value, inputs)):
        out.append((keys @ query[t]).softmax(-1) @ values)
    return torch.stack(out)


def forgetful(slots, head: int, key: Tensor, value: Tensor, inputs: Tensor):
    """What slots that forget hold after each token: keys and values, [S, K] each."""
    at = slice(head * slots.slots, (head + 1) * slots.slots)
    gate = torch.sigmoid(inputs @ slots.gate.weight[at].T + slots.gate.bias[at])
    keys = values = key.new_zeros(slots.slots, key.shape[-1])
    for t in range(len(key)):
        write = 7 / 8 * gate[t][:, None]
        keys = (1 - write) * keys + write * key[t]
        values = (1 - write) * values + write * value[t]
        yield keys, values


def relay(mixer, head: int, query: Tensor, key: Tensor, value: Tensor, _inputs) -> Tensor:
    """One token after another; the relay is refreshed whenever a chunk is full."""
    size = key.shape[-1]
    first = mixer.first[:, head]
    mass = 1.0
    pooled = _pool(mixer, head, first[0], mass, first[1:])
    out = []
    for t in range(len(query)):
        begin = t - t % mixer.chunk
        if t and t == begin:
            chunk = torch.cat([key[t - mixer.chunk : t], value[t - mixer.chunk : t]], -1)
            pooled = _pool(mixer, head, pooled, mass + begin - mixer.chunk + 1, chunk)
        own = query[t] @ pooled[:size] + math.log(mass + begin + 1) + mixer.weight[head]
        seen = [query[t] @ key[s] for s in range(begin, t + 1)]
        share = torch.stack([own, *seen]).softmax(-1)
        out.append(share[0] * pooled[size:] + share[1:] @ value[begin : t + 1])
    return torch.stack(out)


def _pool(mixer, head: int, relay: Tensor, mass: float, nodes: Tensor) -> Tensor:
    size = len(relay) // 2
    aim = mixer.query[head] + relay[:size] @ mixer.turn[head]
    aim = aim / aim.norm() * mixer.log_sharpness[head].exp() / math.sqrt(size)
    own = aim @ relay[:size] + math.log(mass)
    share = torch.stack([own, *(aim @ node[:size] for node in nodes)]).softmax(-1)
    return share[0] * relay + share[1:] @ nodes


def latent(mixer, head: int, query: Tensor, key: Tensor, value: Tensor, inputs) -> Tensor:
    """The equilibrium by many iterations, one token after another."""
    pull = mixer.log_pull[head].exp()
    out = []
    for t, (keys, values) in enumerate(forgetful(mixer.slots, head, key, value, inputs)):
        z = query[t]
        before = None
        while before is None or (z - before).abs().max() > 1e-14:
            before, z = z, query[t] + pull * ((keys @ z).softmax(-1) @ keys)
        out.append((keys @ z).softmax(-1) @ values)
    return torch.stack(out)


def slots_by_steps(query: Tensor, key: Tensor, value: Tensor, write: Tensor, held: Tensor):
    """Slots written into by weights [B, T, H, S] before each token attends: what is given, and held."""
    given, size = [], key.shape[-1]
    for t in range(key.shape[1]):
        pair = torch.cat([key[:, t], value[:, t]], -1).unsqueeze(2)
        held = held + write[:, t].unsqueeze(-1) * (pair - held)
        share = torch.einsum("bhk,bhsk->bhs", query[:, t], held[..., :size]).softmax(-1)
        given.append(torch.einsum("bhs,bhsk->bhk", share, held[..., size:]))
    return torch.stack(given, 1), held
