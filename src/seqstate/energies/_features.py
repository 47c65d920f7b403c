"""Sums over features g of a score of (query_g, keys_g) that never hold T x C x G numbers.

Not a part (its name starts with an underscore). Where scores are many, each feature's are recomputed in
the backward pass, so T x C numbers are alive in both passes; few scores are kept, which is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

KEPT = 1 << 16  # scores of one feature that may be kept for the backward pass


def feature_sum(
    term: Callable[..., Tensor],
    groups: int,
    query: Float[Tensor, "*Q T D"],
    keys: Float[Tensor, "*K C D"],
    *scalars: Float[Tensor, " G"],
) -> Float[Tensor, "*E T C"]:
    """sum_g term(query_g [..., T, K], keys_g [..., C, K], *scalars_g), D = G K, one g at a time.

    `term` must reach what it differentiates through its arguments.
    """
    scores = math.prod(query.shape[:-1]) * keys.shape[-2]
    if scores <= KEPT or not torch.is_grad_enabled():
        return _total(term, groups, query, keys, *scalars)
    return _FeatureSum.apply(term, groups, query, keys, *scalars)


def _total(term, groups: int, *tensors: Tensor) -> Tensor:
    return sum(term(*feature) for feature in _features(groups, *tensors))


def _features(groups: int, query: Tensor, keys: Tensor, *scalars: Tensor):
    split = (query.chunk(groups, -1), keys.chunk(groups, -1), *(s.unbind() for s in scalars))
    return zip(*split, strict=True)


class _FeatureSum(torch.autograd.Function):
    """The sum, with every feature's graph rebuilt and dropped in turn in the backward pass.

    (Checkpoints of torch would do, but inside the checkpoint of a tiled loss they keep every feature.)
    """

    @staticmethod
    def forward(ctx, term, groups, *tensors):
        ctx.term, ctx.groups = term, groups
        ctx.save_for_backward(*tensors)
        return _total(term, groups, *tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        tensors = [tensor.detach() for tensor in ctx.saved_tensors]
        gradients = [torch.empty_like(tensor) for tensor in tensors]
        slots = _features(ctx.groups, *gradients)
        for feature, slot in zip(_features(ctx.groups, *tensors), slots, strict=True):
            inputs = [tensor.requires_grad_() for tensor in map(torch.clone, feature)]
            with torch.enable_grad():
                score = ctx.term(*inputs)
            parts = torch.autograd.grad(score, inputs, gradient, materialize_grads=True)
            for place, part in zip(slot, parts, strict=True):
                place.copy_(part)
        return None, None, *gradients


def squared_distance(
    query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
) -> Float[Tensor, "*E T C"]:
    """|h - w|^2 of all pairs through one matrix product; rounding never makes it negative."""
    lengths = query.square().sum(-1).unsqueeze(-1) + keys.square().sum(-1).unsqueeze(-2)
    return (lengths - 2 * (query @ keys.transpose(-1, -2))).clamp_min(0)


def check_groups(width: int, groups: int) -> None:
    """Raise ValueError unless `groups` features of equal width make up `width`."""
    if groups < 1 or width % groups:
        raise ValueError(
            f"width {width} is not a multiple of groups {groups}; "
            f"try groups={math.gcd(width, max(groups, 1))}"
        )
