"""Cutting a projection into attention heads: the kernel's calls on torch tensors, forwards and back."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from seqstate import native

MOST_WIDTH = 1024  # of a head, as in heads.h
MOST_THREADS = (
    4  # the kernel runs in one thread; with more than these, torch's many passes are faster
)


def fits(projected: Float[Tensor, "B T J K"]) -> bool:
    """True if the kernel can cut this and is expected to be faster than torch."""
    return (
        native.available()
        and projected.dtype == torch.float32
        and projected.device.type == "cpu"
        and projected.is_contiguous()
        and projected.shape[3] <= MOST_WIDTH
        and torch.get_num_threads() <= MOST_THREADS
        and not torch.compiler.is_compiling()
    )


def split_heads(
    projected: Float[Tensor, "B T J K"],
    heads: int,
    gain: Float[Tensor, " H"] | None,
    turn: Complex[Tensor, "_ T 1 K2"] | None,
    *,
    unit: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Queries, keys, values, and (if `unit`) the factor each query and key was given."""
    batch, time, vectors, width = projected.shape
    shared = (vectors - heads) // 2
    query = projected.new_empty(batch, time, heads, width)
    key, value = (projected.new_empty(batch, time, shared, width) for _ in range(2))
    factor = projected.new_empty(batch, time, heads + shared, 1) if unit else None
    turn = None if turn is None else turn.contiguous()
    outs = (projected, query, key, value, factor)
    problem = _problem(query, shared, gain, turn, unit)
    native.extension().split_heads(*problem, *map(native.address, outs))
    return query, key, value, factor


def split_heads_back(
    grads: tuple[Tensor, ...],
    query: Float[Tensor, "B T H K"],
    key: Float[Tensor, "B T Hkv K"],
    factor: Float[Tensor, "B T _ 1"] | None,
    gain: Float[Tensor, " H"] | None,
    turn: Complex[Tensor, "_ T 1 K2"] | None,
) -> tuple[Float[Tensor, "B T J K"], Float[Tensor, " H"]]:
    """Gradient of the projection, and of the logarithm of the gain."""
    batch, time, heads, width = query.shape
    shared = key.shape[2]
    back = query.new_empty(batch, time, heads + 2 * shared, width)
    along = query.new_zeros(heads, dtype=torch.float64)
    turn = None if turn is None else turn.contiguous()
    grads = tuple(g if g.stride(3) == 1 or width == 1 else g.contiguous() for g in grads)
    given = [part for g in grads for part in (native.address(g), g.stride()[:3])]
    problem = _problem(query, shared, gain, turn, factor is not None)
    outs = map(native.address, (query, key, factor, back, along))
    native.extension().split_heads_back(*problem, *given, *outs)
    return back, along.to(query.dtype)


def _problem(query: Tensor, shared: int, gain: Tensor | None, turn: Tensor | None, unit: bool):
    batch, time, heads, width = query.shape
    stride = 0 if turn is None or turn.shape[0] == 1 else time * width
    return (
        batch,
        time,
        heads,
        shared,
        width,
        unit,
        native.address(gain),
        native.address(turn),
        stride,
    )
