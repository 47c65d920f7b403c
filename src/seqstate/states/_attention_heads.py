"""One projection of a token cut into queries, keys and values; queries and keys normalised and rotated.

One node of the graph instead of a dozen: forwards it keeps queries, keys and a factor a vector, backwards it
fills the gradient of the projection in place, without the copies that composed slices make. On a CPU a native
kernel does both in one pass each, about seven times faster; without it, a few calls of torch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqstate.native import heads as native_heads

EPSILON = 1e-6  # added to the mean square of a query or key before it is normalised


class Aim(NamedTuple):
    """How queries and keys are prepared. None: not normalised (unit), not rotated (turn)."""

    heads: int
    kv_heads: int
    unit: bool  # to a root mean square of 1 (QK-norm: Henry et al. 2020)
    turn: Complex[Tensor, "_ T 1 K2"] | None


def split_heads(
    projected: Float[Tensor, "B T J K"], log_gain: Float[Tensor, " H"] | None, aim: Aim
) -> tuple[Float[Tensor, "B T H K"], Float[Tensor, "B T Hkv K"], Float[Tensor, "B T Hkv K"]]:
    """Queries, keys and values from J = H + 2 Hkv vectors a token; queries scaled by exp(log_gain)."""
    if torch.is_grad_enabled():
        return _SplitHeads.apply(projected, log_gain, aim)
    gain = None if log_gain is None else log_gain.exp()
    return _forward(projected, gain, aim)[:3]


class _SplitHeads(torch.autograd.Function):
    """y = gain x / r, turned, where r^2 = mean x^2 + eps."""

    @staticmethod
    def forward(ctx, projected, log_gain, aim):
        gain = None if log_gain is None else log_gain.exp()
        query, key, value, factor = _forward(projected, gain, aim)
        ctx.save_for_backward(query, key, factor, gain)
        ctx.aim, ctx.native = aim, native_heads.fits(projected)
        return query, key, value

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        query, key, factor, gain = ctx.saved_tensors
        if ctx.native:
            back, along = native_heads.split_heads_back(
                grads, query, key, factor, gain, ctx.aim.turn
            )
        else:
            back, along = _backward(grads, query, key, factor, gain, ctx.aim.turn)
        return back, None if gain is None else along, None


def _forward(projected: Tensor, gain: Tensor | None, aim: Aim) -> tuple:
    if native_heads.fits(projected):
        return native_heads.split_heads(projected, aim.heads, gain, aim.turn, unit=aim.unit)
    aimed, value = projected.split((aim.heads + aim.kv_heads, aim.kv_heads), 2)
    factor = None
    if aim.unit:
        factor = torch.linalg.vector_norm(aimed, dim=-1, keepdim=True).square_()
        factor.mul_(1 / aimed.shape[-1]).add_(EPSILON).rsqrt_()
        if gain is not None:
            factor[:, :, : aim.heads].mul_(gain[:, None])
    if aim.turn is None:
        aimed = aimed * factor if aim.unit else aimed.clone()
    else:
        aimed = _rotated(aimed, aim.turn)
        aimed = aimed.mul_(factor) if aim.unit else aimed
    query, key = aimed.split((aim.heads, aim.kv_heads), 2)
    return query, key, value.clone(), factor


def _backward(grads, query, key, factor, gain, turn) -> tuple[Tensor, Tensor | None]:
    """Gradient of the projection, and of the logarithm of the gain."""
    heads, shared = query.shape[2], key.shape[2]
    back = query.new_empty(*query.shape[:2], heads + 2 * shared, query.shape[3])
    to_query, to_key, to_value = back.split((heads, shared, shared), 2)
    to_value.copy_(grads[2])
    if factor is None:
        _turn_back(grads[0], turn, to_query)
        _turn_back(grads[1], turn, to_key)
        return back, None
    of_query, of_key = factor.split((heads, shared), 2)
    scale = None if gain is None else gain[:, None] ** -2
    along = _back(query, grads[0], of_query, scale, turn, to_query)
    _back(key, grads[1], of_key, None, turn, to_key)
    return back, along.sum((0, 1))


def _back(
    y: Tensor, grad: Tensor, factor: Tensor, scale: Tensor | None, turn: Tensor | None, out: Tensor
) -> Tensor:
    """Gradient of one kind of vector into `out`; returns what would change the lengths, [B, T, heads]."""
    along = (grad * y).sum(-1, keepdim=True)
    share = along / -y.shape[-1]
    if scale is not None:
        share.mul_(scale)
    _turn_back(torch.addcmul(grad, y, share).mul_(factor), turn, out)
    return along[..., 0]


def _turn_back(grad: Tensor, turn: Tensor | None, out: Tensor) -> None:
    if turn is None:
        out.copy_(grad)
    else:
        torch.mul(_pairs(grad.contiguous()), turn.conj_physical(), out=_pairs(out))


def _rotated(vectors: Tensor, turn: Tensor) -> Tensor:
    """The pairs (0, 1), (2, 3), ... of every vector, each by its angle."""
    return torch.view_as_real(_pairs(vectors) * turn).view(vectors.shape)


def _pairs(vectors: Tensor) -> Tensor:
    return torch.view_as_complex(vectors.view(*vectors.shape[:-1], -1, 2))
