"""The nodes that the tokens of a chunk see: the relay of all before it, then the chunk itself.

    a       = sharpness (q + turn r) / |q + turn r|
    share   = softmax over {r, x_s in the chunk} of <a, its key>, + log of its mass for r
    r_next  = share_0 r + sum_s share_s x_s

One chunk after another and one node of the graph: eight small calls a chunk forwards, and the way back is
programmed here, as autograd would make thrice the calls.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Asking(NamedTuple):
    """How a relay asks: q, turn and the length of what it asks with."""

    query: Float[Tensor, "H K"]
    turn: Float[Tensor, "H K K"]
    sharpness: Float[Tensor, "H 1"]


def chunk_nodes(
    tokens: Float[Tensor, "P H B L X"],
    relay: Float[Tensor, "B H X"],
    asking: Asking,
    mass: Float[Tensor, "P B"],
    total: Int[Tensor, " B"],
) -> tuple[Float[Tensor, "P H B M X"], Float[Tensor, "B H X"]]:
    """Every chunk's M = 1 + L nodes, and the relay after the last whole chunk of each row.

    X = 2K: keys beside values. What stands behind a row's `total` tokens counts nowhere. mass: what the relay
    stands for before each chunk.
    """
    count, size = tokens.shape[0], tokens.shape[3]
    relay, done = relay.to(tokens.dtype), total // size
    if torch.compiler.is_exporting():
        return _one_chunk(tokens[0], relay, asking, mass[0], done)
    rounds = int(done.max())
    if not rounds:
        unmoved = relay.transpose(0, 1)[:, :, None].expand(count, -1, -1, -1, -1)
        return torch.cat([unmoved, tokens], 3), relay
    whole = total >= size * torch.arange(1, rounds + 1, device=total.device)[:, None]
    bias = tokens.new_zeros(rounds, len(relay), size + 1)
    # an unfinished chunk leaves the relay as it is
    bias[..., 1:].masked_fill_(~whole.unsqueeze(-1), -torch.inf)
    bias[..., 0] = mass[:rounds].log()
    return _ChunkNodes.apply(tokens, relay, *asking, bias, done)


def _one_chunk(
    tokens: Float[Tensor, "H B L X"],
    relay: Float[Tensor, "B H X"],
    asking: Asking,
    mass: Float[Tensor, " B"],
    done: Int[Tensor, " B"],
) -> tuple[Float[Tensor, "1 H B M X"], Float[Tensor, "B H X"]]:
    """The same for a graph, in which every row asks, whatever it has read."""
    nodes = torch.cat([relay.transpose(0, 1).unsqueeze(2), tokens], 2)
    keys = nodes[..., : nodes.shape[-1] // 2]
    aim = F.normalize(asking.query.unsqueeze(1) + keys[..., 0, :] @ asking.turn, dim=-1)
    scores = (keys @ (aim * asking.sharpness.unsqueeze(1)).unsqueeze(-1)).squeeze(-1)
    own = scores[..., :1] + mass.log()[:, None]
    share = torch.cat([own, scores[..., 1:]], -1).softmax(-1)
    after = (share.unsqueeze(-2) @ nodes).squeeze(-2).transpose(0, 1)
    return nodes.unsqueeze(0), torch.where((done > 0)[:, None, None], after, relay)


class _ChunkNodes(torch.autograd.Function):
    """Letters as above; N = H B relays side by side, p counts chunks."""

    @staticmethod
    def forward(ctx, tokens, relay, query, turn, sharpness, bias, done):
        count, heads, batch, size, both = tokens.shape
        width, rounds, rows = both // 2, len(bias), heads * batch
        nodes = tokens.new_empty(count + 1, heads, batch, size + 1, both)
        nodes[:-1, ..., 1:, :] = tokens
        nodes[0, ..., 0, :] = relay.transpose(0, 1)
        flat = nodes.flatten(1, 2)
        aims = tokens.new_empty(rounds, heads, batch, width)
        lengths = tokens.new_empty(rounds, rows, 1, 1)
        shares = tokens.new_empty(rounds, rows, 1, size + 1)
        bias = bias.unsqueeze(1).expand(-1, heads, -1, -1).reshape(rounds, rows, 1, -1)
        # products by rows, and a pooled relay that is copied to its place: half the time of a strided one
        long, sharp = query.unsqueeze(1), _each(sharpness, batch)
        pooled = relay.new_empty(rows, 1, both)
        steps = zip(
            aims,
            aims.view(rounds, rows, 1, width),
            lengths,
            shares,
            bias,
            nodes[:rounds, ..., 0, :width],
            flat[:rounds, ..., :width].mT,
            flat[:rounds],
            flat[1 : rounds + 1, :, :1],
            strict=True,
        )
        for aim, row, length, share, offset, own, keys, held, after in steps:
            torch.baddbmm(long, own, turn, out=aim)
            torch.linalg.vector_norm(row, dim=2, keepdim=True, out=length)
            scores = torch.baddbmm(offset, row * (sharp / length), keys)
            torch.softmax(scores, 2, out=share)
            after.copy_(torch.bmm(share, held, out=pooled))
        for p in range(rounds, count):
            nodes[p + 1, ..., 0, :] = nodes[p, ..., 0, :]
        ctx.save_for_backward(nodes, aims, lengths, shares, turn, sharpness, done)
        return nodes[:-1], nodes[done, :, torch.arange(batch, device=done.device), 0]

    @staticmethod
    @once_differentiable
    def backward(ctx, to_nodes, to_after):
        nodes, aims, lengths, shares, turn, sharpness, done = ctx.saved_tensors
        count, heads, batch, _, both = to_nodes.shape
        rounds, width = len(aims), both // 2
        rows = torch.arange(batch, device=done.device)
        to_relay = to_nodes.new_zeros(count + 1, heads, batch, both)
        to_relay[:-1] = to_nodes[..., 0, :]
        to_relay[done, :, rows] += to_after
        for p in range(count - 1, rounds - 1, -1):
            to_relay[p] += to_relay[p + 1]
        units = aims.view(rounds, heads * batch, 1, width) / lengths
        factors = _each(sharpness, batch) / lengths
        asked = units * (factors * lengths)
        to_scores, to_asked, to_aims = map(torch.empty_like, (shares, units, units))
        flat, flat_to = nodes.flatten(1, 2), to_relay.view(count + 1, heads * batch, 1, both)
        back = turn.mT
        for p in range(rounds - 1, -1, -1):
            held, share, grad, to = flat[p], shares[p], flat_to[p + 1], flat_to[p]
            to_share = torch.bmm(grad, held.mT)
            s = torch._softmax_backward_data(to_share, share, 2, to_share.dtype)
            to_scores[p] = s
            a = torch.bmm(s, held[..., :width], out=to_asked[p])
            along = torch.bmm(a, units[p].mT)
            torch.addcmul(a, units[p], along, value=-1, out=to_aims[p]).mul_(factors[p])
            to.addcmul_(share[..., :1], grad)
            to[..., :width].addcmul_(s[..., :1], asked[p])
            to_relay[p, ..., :width] += torch.bmm(to_aims[p].view(heads, batch, width), back)
        to_tokens = to_nodes[..., 1:, :].clone()
        added = to_tokens.flatten(1, 2)[:rounds]
        added.addcmul_(shares[..., 1:].mT, flat_to[1 : rounds + 1])
        added[..., :width].addcmul_(to_scores[..., 1:].mT, asked)
        to_aims = to_aims.view(rounds, heads, batch, width)
        keys = nodes[:rounds, ..., 0, :width]
        to_turn = torch.einsum("phbj,phbk->hjk", keys, to_aims)
        to_sharpness = (
            (to_asked * units).view(rounds, heads, batch * width).sum((0, 2)).unsqueeze(1)
        )
        return (
            to_tokens,
            to_relay[0].transpose(0, 1),
            to_aims.sum((0, 2)),
            to_turn,
            to_sharpness,
            None,
            None,
        )


def _each(sharpness: Float[Tensor, "H 1"], batch: int) -> Float[Tensor, "N 1 1"]:
    """A head's for every row."""
    return sharpness.repeat_interleave(batch, 0).unsqueeze(-1)
