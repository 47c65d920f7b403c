"""Features kept and written through gates that first compare the candidate with what the feature holds.

At each step, for each of R features (rows times groups) of K numbers, with a candidate c and a state s:

    miss  = sigmoid(offset + scale * compared(c, s))       the soft bit "this feature holds something else"
    gates = sigmoid(given + weight * miss)                 update, or update and write
    s     = (1 - update) * s + update * write * c          write = 1 where there is one gate

compared is the inner product <c, s> or the squared distance |c - s|^2. No matrix is in the loop, a step is
seven calls on K x R numbers, and the way back is programmed here, as autograd would make thrice the calls.
Time comes first and R last, so that every call runs over contiguous memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def feature_scan(
    candidate: Float[Tensor, "T K R"],
    given: Float[Tensor, "T Z R"],
    start: Float[Tensor, "K R"],
    scale: Float[Tensor, " R"],
    offset: Float[Tensor, " R"],
    weight: Float[Tensor, "Z R"],
    *,
    distance: bool = False,
    hard: bool = False,
) -> tuple[Float[Tensor, "T K R"], Float[Tensor, "T R"]]:
    """All states and the misses each candidate met. Z is 1 (update) or 2 (update, write).

    hard: a gate is 1 where its soft value is above 1/2, else 0, with the soft one's gradient (straight
    through: Bengio et al. 2013, https://arxiv.org/abs/1308.3432).
    """
    return _FeatureScan.apply(
        candidate.contiguous(), given.contiguous(), start, scale, offset, weight, distance, hard
    )


class _FeatureScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, candidate, given, start, scale, offset, weight, distance, hard):
        time, width, rows = candidate.shape
        held = candidate.new_empty(time + 1, width, rows)
        held[0] = start
        compared, miss = candidate.new_empty(2, time, rows)
        soft = torch.empty_like(given)
        product = candidate.new_empty(width, rows)
        states = held.unbind(0)
        steps = zip(
            states[:-1],
            states[1:],
            candidate.unbind(0),
            given.unbind(0),
            compared.unbind(0),
            miss.unbind(0),
            soft.unbind(0),
            strict=True,
        )
        for s, after, c, z, x, m, gates in steps:
            if distance:
                torch.sub(c, s, out=product).square_()
            else:
                torch.mul(c, s, out=product)
            torch.sum(product, 0, out=x)
            torch.addcmul(offset, scale, x, out=m).sigmoid_()
            torch.addcmul(z, weight, m, out=gates).sigmoid_()
            if hard:
                gates = (gates > 0.5).to(gates.dtype)
            if len(gates) == 2:
                c = torch.mul(gates[1], c, out=product)
            torch.lerp(s, c, gates[0], out=after)
        ctx.distance, ctx.hard = distance, hard
        ctx.save_for_backward(candidate, held, scale, weight, compared, miss, soft)
        return held[1:], miss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, to_miss):
        candidate, held, scale, weight, compared, miss, soft = ctx.saved_tensors
        before, gates = held[:-1], (soft > 0.5).to(soft.dtype) if ctx.hard else soft
        update, change = gates[:, :1], candidate - before
        if gates.shape[1] == 1:
            written, moved = update, change[:, None]
        else:
            written = update * gates[:, 1:]
            moved = torch.stack([gates[:, 1:] * candidate - before, update * candidate], 1)
        # how compared(c, s) grows with s and with c; `steep` takes up the square's factor -2
        by_state, by_candidate = (change, -change) if ctx.distance else (candidate, before)
        steep = scale * miss * (1 - miss) * (-2 if ctx.distance else 1)
        total, to_gates, bits = _back(
            grad, to_miss, 1 - update, moved, by_state, steep, soft * (1 - soft), weight
        )
        lean = bits * steep
        to_candidate = total * written + lean[:, None] * by_candidate
        to_start = total[0] * (1 - update[0]) + lean[0] * by_state[0]
        to_offset = bits * miss * (1 - miss)
        to_scale = (to_offset * compared).sum(0)
        to_weight = (to_gates * miss[:, None]).sum(0)
        scalars = (to_scale, to_offset.sum(0), to_weight)
        return to_candidate, to_gates, to_start, *scalars, None, None


def _back(
    grad: Float[Tensor, "T K R"],
    to_miss: Float[Tensor, "T R"],
    keep: Float[Tensor, "T 1 R"],
    moved: Float[Tensor, "T Z K R"],
    by_state: Float[Tensor, "T K R"],
    steep: Float[Tensor, "T R"],
    slope: Float[Tensor, "T Z R"],
    weight: Float[Tensor, "Z R"],
) -> tuple[Float[Tensor, "T K R"], Float[Tensor, "T Z R"], Float[Tensor, "T R"]]:
    """Gradients of every state (later steps included), of the gates' arguments and of the misses."""
    total, bits = grad.clone(), to_miss.clone()
    to_gates, product = torch.empty_like(slope), torch.empty_like(moved[0])
    weighed, lean = torch.empty_like(weight), torch.empty_like(steep[0])
    parts = (total, bits, keep, moved, by_state, steep, slope, to_gates)
    steps = zip(*(part.unbind(0)[::-1] for part in parts), strict=True)
    earlier = [*total.unbind(0)[::-1][1:], None]
    for (ds, dm, k, pair, rise, steepness, slopes, dz), prior in zip(steps, earlier, strict=True):
        torch.sum(torch.mul(pair, ds, out=product), 1, out=dz)
        dz.mul_(slopes)
        torch.mul(dz, weight, out=weighed)
        for row in weighed.unbind(0):
            dm.add_(row)
        if prior is not None:
            torch.mul(dm, steepness, out=lean)
            prior.addcmul_(k, ds).addcmul_(lean, rise)
    return total, to_gates, bits
