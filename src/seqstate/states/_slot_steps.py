"""Slots that every token is written into, by its own weight, before it attends to them, step by step.

held_t,m = held_{t-1,m} + w_t,m ((k_t, v_t) - held_{t-1,m}),   given_t = sum_m softmax_m(<q_t, key>) value.

The native kernel's form of what `_slot_mix` computes in pieces: the slots stay in a processor's nearest
cache, so that on a CPU it takes a third of the time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqstate.native import slots as native_slots
from seqstate.states._mixer import Tokens


def steps_fit(tokens: Tokens, held: Tensor) -> bool:
    """True if the kernel is there and can mix these tokens."""
    return native_slots.fits(tokens.key, tokens.input, held)


def slot_steps(
    tokens: Tokens, write: Float[Tensor, "B T H S"], held: Float[Tensor, "B H S K2"]
) -> tuple[Float[Tensor, "B T H K"], Float[Tensor, "B H S K2"]]:
    """What each token is given, and what the slots hold after the last; only if `steps_fit`."""
    inputs = (*tokens[:3], write, held)
    if torch.is_grad_enabled():
        return _SlotSteps.apply(*inputs)
    return native_slots.mix(*(part.contiguous() for part in inputs), keep=False)[:2]


class _SlotSteps(torch.autograd.Function):
    """Going back, what was held is computed again from every 16th token on."""

    @staticmethod
    def forward(ctx, *inputs):
        inputs = tuple(part.contiguous() for part in inputs)
        mixed, after, share, marks = native_slots.mix(*inputs, keep=True)
        ctx.save_for_backward(*inputs, share, marks)
        return mixed, after

    @staticmethod
    @once_differentiable
    def backward(ctx, to_mixed, to_after):
        *inputs, share, marks = ctx.saved_tensors
        return native_slots.mix_back(tuple(inputs), share, marks, to_mixed, to_after)
