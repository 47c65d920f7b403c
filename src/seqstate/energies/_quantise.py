"""Product quantisation of word vectors for a head: whitening, rotation, weighted k-means.

Not a part (its name starts with an underscore). What counts is not |w - w'| but the error of the logits,
E_h <h, w - w'>^2, so words are moved to where the states have unit covariance; a rotation then spreads what
is left evenly over the groups (OPQ: Ge, He, Ke & Sun 2013, "Optimized product quantization"), and k-means
in each group gives common words a larger say.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

RIDGE = 1e-4  # share of the mean variance added to every direction, so that none is divided by zero
TILE = 1 << 18  # distances held at once: they stay in the cache


def whitening(
    hidden: Float[Tensor, "N D"], mean: Float[Tensor, " D"]
) -> tuple[Float[Tensor, "D D"], Float[Tensor, "D D"]]:
    """(S, S^-1), symmetric, with S S = E (h - mean)(h - mean)^T and a small ridge."""
    spread = hidden - mean
    moment = spread.T @ spread / len(hidden)
    variances, axes = torch.linalg.eigh(moment)
    variances = variances.clamp_min(0) + RIDGE * variances.mean() + torch.finfo(hidden.dtype).tiny
    root = variances.sqrt()
    return (axes * root) @ axes.T, (axes / root) @ axes.T


def product_quantise(
    points: Float[Tensor, "V D"],
    weights: Float[Tensor, " V"],
    *,
    groups: int,
    codes: int,
    rotations: int,
    rounds: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "D D"], Float[Tensor, "G C K"], Int[Tensor, "V G"]]:
    """Rotation R, codebooks and codes that make sum_v weight_v |R point_v - decoded_v|^2 small.

    rotations: times the rotation is solved for given the codes (0: the points stay as they are);
    rounds: of k-means, at the end and (a few) between rotations.
    """
    if not rotations:
        rotation = torch.eye(points.shape[1], dtype=points.dtype)
        return rotation, *_quantise(points, weights, None, groups, codes, rounds, generator)
    rotation = _spread_axes(points, weights, groups)
    books = None
    for _ in range(rotations):
        moved = points @ rotation.T
        books, labels = _quantise(moved, weights, books, groups, codes, 2, generator)
        cross = (decode(books, labels) * weights.unsqueeze(-1)).T @ points
        left, _, right = torch.linalg.svd(cross)
        rotation = (
            left @ right
        )  # of all rotations the one that brings the points nearest (Procrustes)
    moved = points @ rotation.T
    return rotation, *_quantise(moved, weights, books, groups, codes, rounds, generator)


def decode(books: Float[Tensor, "G C K"], labels: Int[Tensor, "V G"]) -> Float[Tensor, "V D"]:
    """The vector each row of codes stands for."""
    return torch.cat([book[code] for book, code in zip(books, labels.unbind(-1), strict=True)], -1)


def nearest(points: Float[Tensor, "V K"], centres: Float[Tensor, "C K"]) -> Int[Tensor, " V"]:
    """Index of each point's nearest centre."""
    lengths, axes = centres.square().sum(-1), centres.T.contiguous()
    parts = points.split(max(1, TILE // len(centres)))
    return torch.cat([torch.addmm(lengths, part, axes, alpha=-2).argmin(-1) for part in parts])


def kmeans(
    points: Float[Tensor, "V K"],
    weights: Float[Tensor, " V"],
    centres: Float[Tensor, "C K"],
    rounds: int,
) -> tuple[Float[Tensor, "C K"], Int[Tensor, " V"]]:
    """Weighted Lloyd rounds. A centre that lost all its points moves to the worst served ones."""
    for _ in range(rounds):
        labels = nearest(points, centres)
        mass = torch.bincount(labels, weights, len(centres))
        said = (points * weights.unsqueeze(-1)).unbind(-1)
        sums = torch.stack([torch.bincount(labels, one, len(centres)) for one in said], -1)
        error = weights * (points - centres[labels]).square().sum(-1)
        empty = (mass == 0).nonzero().squeeze(-1)
        centres = sums / mass.clamp_min(torch.finfo(mass.dtype).tiny).unsqueeze(-1)
        spare = min(len(empty), len(points))
        centres[empty[:spare]] = points[error.topk(spare).indices]
    return centres, nearest(points, centres)


def _quantise(points, weights, books, groups, codes, rounds, generator):
    """k-means in every group, from these codebooks or from fresh ones."""
    found, labels = [], []
    for g, part in enumerate(points.chunk(groups, -1)):
        part = part.contiguous()
        start = _seeds(part, weights, codes, generator) if books is None else books[g]
        centres, codes_g = kmeans(part, weights, start, rounds)
        found.append(centres)
        labels.append(codes_g)
    return torch.stack(found), torch.stack(labels, -1)


def _seeds(points: Tensor, weights: Tensor, codes: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur & Vassilvitskii 2007): each seed drawn by its distance from those before."""
    chosen = torch.empty(codes, dtype=torch.long)
    chosen[0] = torch.multinomial(weights, 1, generator=generator)
    distance = torch.full_like(weights, torch.inf)
    for i in range(1, codes):
        newest = (points - points[chosen[i - 1]]).square().sum(-1)
        distance = torch.minimum(distance, newest)
        chance = weights * distance
        chosen[i] = torch.multinomial(
            chance if chance.sum() > 0 else weights, 1, generator=generator
        )
    return points[chosen].clone()


def _spread_axes(points: Tensor, weights: Tensor, groups: int) -> Tensor:
    """Principal axes dealt out so that the groups' products of variances are even."""
    centred = points - (weights @ points) / weights.sum()
    moment = (centred * weights.unsqueeze(-1)).T @ centred / weights.sum()
    variances, axes = torch.linalg.eigh(moment)
    size = points.shape[1] // groups
    dealt: list[list[int]] = [[] for _ in range(groups)]
    logs = variances.clamp_min(torch.finfo(variances.dtype).tiny).log()
    load = [0.0] * groups
    for axis in variances.argsort(descending=True).tolist():
        open_groups = [g for g in range(groups) if len(dealt[g]) < size]
        g = min(open_groups, key=lambda one: (load[one], one))
        dealt[g].append(axis)
        load[g] += logs[axis].item() - logs.min().item() + 1.0
    return axes[:, [axis for group in dealt for axis in group]].T.contiguous()
