"""Every token attends once to what slots hold at it: softmax of its scores, then the values by its shares.

What `SlotMemory` composes, as one node of the graph: going back it keeps the products it needs and adds into
place, at half the time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqstate.states._mixer import Tokens
from seqstate.states._slot_memory import Weights, cut, join


def slot_mix(
    tokens: Tokens, weights: Weights, held: Float[Tensor, "B H S K2"]
) -> tuple[Float[Tensor, "B T H K"], Float[Tensor, "B H S K2"]]:
    """What each token is given, and what the slots hold after the last (keys beside values)."""
    query, key, value = (cut(part) for part in tokens[:3])
    mixed, after = _SlotMix.apply(query, key, value, *weights, held)
    return join(mixed, tokens.key.shape[1]), after


class _SlotMix(torch.autograd.Function):
    """Letters as in the formulas below, all but `before` over N = P B H pieces.

    A = tril(q k'), Z = A write + q before_k', share = softmax(Z read) read, E = tril(share write'),
    mixed = E v + share before_v, before_{p+1} = keep_p before_p + (write last)' [k v].
    """

    @staticmethod
    def forward(ctx, query, key, value, read, write, carried, held):
        q, k, v, r, w = (part.flatten(0, 2) for part in (query, key, value, read, write))
        last = read[:, :, :, -1]
        keep = last if carried is None else last * carried
        states = held.new_empty(len(query) + 1, *held.shape)
        states[0] = held
        written = (write * last.unsqueeze(3)).flatten(0, 2)
        added = torch.bmm(written.mT, torch.cat([k, v], -1)).view_as(states[1:])
        for p, kept in enumerate(keep.unsqueeze(-1)):
            torch.addcmul(added[p], kept, states[p], out=states[p + 1])
        before_k, before_v = _before(states, carried)
        edges = torch.bmm(q, k.mT).tril_()
        z = torch.bmm(q, before_k.mT).baddbmm_(edges, w)
        share = (z * r).softmax(-1)
        shared = share * r
        back_edges = torch.bmm(shared, w.mT).tril_()
        mixed = torch.bmm(shared, before_v).baddbmm_(back_edges, v)
        ctx.save_for_backward(
            q, k, v, read, write, carried, states, edges, z, share, back_edges, written
        )
        return mixed.view_as(query), states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, to_mixed, to_after):
        q, k, v, read, write, carried, states, edges, z, share, back_edges, written = (
            ctx.saved_tensors
        )
        r, w, size = read.flatten(0, 2), write.flatten(0, 2), k.shape[-1]
        before_k, before_v = _before(states, carried)
        to_mixed = to_mixed.reshape(q.shape)
        shared = share * r

        to_edges = torch.bmm(to_mixed, v.mT).tril_()
        to_share = torch.bmm(to_mixed, before_v.mT).baddbmm_(to_edges, w)
        to_w = torch.bmm(to_edges.mT, shared)
        to_r = to_share * share
        to_z = torch._softmax_backward_data(to_share.mul_(r), share, -1, share.dtype)
        to_r.addcmul_(to_z, z)
        to_z.mul_(r)
        to_asked = torch.bmm(to_z, w.mT).tril_()
        to_w.baddbmm_(edges.mT, to_z)
        to_q = torch.bmm(to_z, before_k).baddbmm_(to_asked, k)

        to_states = torch.empty_like(states)
        held = to_states[:-1].flatten(0, 2)
        held[..., :size] = torch.bmm(to_z.mT, q)
        held[..., size:] = torch.bmm(shared.mT, to_mixed)
        to_carried = None
        if carried is not None:
            to_carried = (to_states[:-1] * states[:-1]).sum(-1)
            to_states[:-1].mul_(carried.unsqueeze(-1))
        last = read[:, :, :, -1]
        keep = last if carried is None else last * carried
        to_states[-1] = to_after
        for p in range(len(keep) - 1, -1, -1):
            to_states[p].addcmul_(keep[p].unsqueeze(-1), to_states[p + 1])

        to_added = to_states[1:].flatten(0, 2)
        to_both = torch.bmm(written, to_added)
        to_k = to_both[..., :size].baddbmm(to_asked.mT, q)
        to_v = to_both[..., size:].baddbmm(back_edges.mT, to_mixed)
        to_written = torch.bmm(torch.cat([k, v], -1), to_added.mT).view_as(write)
        to_w = to_w.view_as(write).addcmul_(to_written, last.unsqueeze(3))
        to_keep = (to_states[1:] * states[:-1]).sum(-1)
        to_last = to_written.mul_(write).sum(3)
        if carried is None:
            to_last += to_keep
        else:
            to_last.addcmul_(to_keep, carried)
            to_carried.addcmul_(to_keep, last)
        to_r = to_r.view_as(read)
        to_r[:, :, :, -1] += to_last
        whole = (*read.shape[:4], size)
        return (
            *(part.view(whole) for part in (to_q, to_k, to_v)),
            to_r,
            to_w,
            to_carried,
            to_states[0],
        )


def _before(states: Tensor, carried: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keys and values of the slots as every piece finds them, [N, S, K]."""
    before = states[:-1] if carried is None else states[:-1] * carried.unsqueeze(-1)
    return before.flatten(0, 2).tensor_split(2, -1)
