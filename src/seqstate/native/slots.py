"""Slots written into and attended to: the kernel's calls on torch tensors, forwards and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from seqstate import native

MOST_WIDTH = 256  # of a head, as in slots.h
PIECE = 16  # tokens read at once, as in slots.h


def fits(*tensors: Tensor) -> bool:
    """True if the kernel can mix these tokens (their last axis a head's width)."""
    return native.usable(*tensors) and tensors[0].shape[-1] <= MOST_WIDTH


def mix(
    query: Float[Tensor, "B T H K"],
    key: Float[Tensor, "B T H K"],
    value: Float[Tensor, "B T H K"],
    write: Float[Tensor, "B T H S"],
    held: Float[Tensor, "B H S K2"],
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What each token is given, what is held after the last, and (if `keep`) what going back needs:
    every token's shares, and what was held before every 16 tokens."""
    inputs = (query, key, value, write, held)
    mixed, after = torch.empty_like(query), torch.empty_like(held)
    share = marks = None
    if keep:
        pieces = -(-query.shape[1] // PIECE)
        batch, heads, slots, both = held.shape
        share = held.new_empty(batch, heads, pieces, slots, PIECE)
        marks = held.new_empty(batch, heads, pieces, slots, both)
    outs = map(native.address, (mixed, after, share, marks))
    _done(native.extension().slots_mix(*_problem(inputs), *outs))
    return mixed, after, share, marks


def mix_back(
    inputs: tuple[Tensor, ...], share: Tensor, marks: Tensor, to_mixed: Tensor, to_after: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the five inputs of `mix`, in their order."""
    to_mixed, to_after = to_mixed.contiguous(), to_after.contiguous()
    outs = tuple(map(torch.empty_like, inputs))
    given = map(native.address, (share, marks, to_mixed, to_after, *outs))
    _done(native.extension().slots_mix_back(*_problem(inputs), *given))
    return outs


def _problem(inputs: tuple[Tensor, ...]) -> tuple[int, ...]:
    batch, time, heads, width = inputs[0].shape
    assert all(part.is_contiguous() and part.dtype == torch.float32 for part in inputs)
    slots = inputs[3].shape[3]
    threads = native.threads_for(2 * batch * time * heads * width * slots)
    return native.isa(), threads, batch, time, heads, slots, width, *map(native.address, inputs)


def _done(status: int) -> None:
    assert status == 0, status
