"""Sums and maxima over features g of a score of (query_g, keys_g) that never hold T x C x G numbers.

Not a part (its name starts with an underscore). Where scores are many, each feature's are recomputed in
the backward pass, so T x C numbers are alive in both passes; few scores are kept, which is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

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
        ctx.term, ctx.groups, ctx.autocast = term, groups, _autocast(tensors[0])
        ctx.save_for_backward(*tensors)
        return _total(term, groups, *tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return None, None, *_feature_gradients(ctx, ctx.saved_tensors, lambda g, score: gradient)


def feature_max(
    term: Callable[..., Tensor],
    groups: int,
    temperature: float,
    query: Float[Tensor, "*Q T D"],
    keys: Float[Tensor, "*K C D"],
    *scalars: Float[Tensor, " G"],
) -> Float[Tensor, "*E T C"]:
    """The largest term, or at a temperature above 0 its soft form t log mean_g exp(term_g / t)."""
    if not torch.is_grad_enabled():
        best, _ = _highest(term, groups, temperature, query, keys, *scalars)
        return best - temperature * math.log(groups)
    return _FeatureMax.apply(term, groups, temperature, query, keys, *scalars)


def _highest(term, groups: int, temperature: float, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """The running (soft) maximum, and which feature first reached it where the maximum is hard."""
    best, which = None, None
    for g, feature in enumerate(_features(groups, *tensors)):
        score = term(*feature)
        if best is None or which is None:
            best, which = score, torch.zeros_like(score, dtype=torch.int16)
        elif temperature:
            best = torch.logaddexp(best / temperature, score / temperature) * temperature
        else:
            which = torch.where(score > best, g, which)
            best = torch.maximum(score, best)
    assert best is not None and which is not None
    return best, which


class _FeatureMax(torch.autograd.Function):
    """One running maximum; the backward pass rebuilds one feature's graph at a time, as in the sum."""

    @staticmethod
    def forward(ctx, term, groups, temperature, *tensors):
        best, which = _highest(term, groups, temperature, *tensors)
        ctx.term, ctx.groups, ctx.autocast = term, groups, _autocast(tensors[0])
        ctx.temperature = temperature
        ctx.save_for_backward(best if temperature else which, *tensors)
        return best - temperature * math.log(groups)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        kept, *tensors = ctx.saved_tensors

        def share(g: int, score: Tensor) -> Tensor:
            if ctx.temperature:
                return gradient * ((score - kept) / ctx.temperature).exp()
            return gradient * (kept == g)

        return None, None, None, *_feature_gradients(ctx, tensors, share)


def _autocast(tensor: Tensor) -> torch.autocast:
    """The mixed precision in force, to be entered again in the backward pass."""
    kind = tensor.device.type
    return torch.autocast(
        kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind)
    )


def _feature_gradients(ctx, tensors, share) -> list[Tensor]:
    """Gradients of all tensors, where feature g's term receives share(g, term)."""
    tensors = [tensor.detach() for tensor in tensors]
    gradients = [torch.empty_like(tensor) for tensor in tensors]
    slots = _features(ctx.groups, *gradients)
    for g, (feature, slot) in enumerate(zip(_features(ctx.groups, *tensors), slots, strict=True)):
        inputs = [tensor.requires_grad_() for tensor in map(torch.clone, feature)]
        with torch.enable_grad(), ctx.autocast:
            score = ctx.term(*inputs)
        received = share(g, score.detach())
        parts = torch.autograd.grad(score, inputs, received, materialize_grads=True)
        for place, part in zip(slot, parts, strict=True):
            place.copy_(part)
    return gradients


def even_lengths_(keys: Float[Tensor, "C D"], groups: int) -> None:
    """Fill with random vectors whose every feature has squared length 1 / G.

    Where an energy depends on |w|, words of equal lengths start equal for a state at the origin.
    """
    nn.init.normal_(keys)
    directions = F.normalize(keys.unflatten(-1, (groups, -1)), dim=-1) / math.sqrt(groups)
    keys.copy_(directions.flatten(-2))


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
