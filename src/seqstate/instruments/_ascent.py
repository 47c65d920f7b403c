"""Witnesses for heads of any form: hidden vectors that put a set of words on top, by gradient ascent."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqstate.core.energy import Head

TILE = 1 << 20  # logits held at once
STEPS = 200
STRIDE = 0.1  # of the vector's length at first, its square at last
SHARPNESS = 300.0  # of the soft maximum at last, in standard deviations of the logits
SLACK = 1e-12  # of the largest logit: a win by less is rounding


def ascend(head: Head, start: Float[Tensor, "N D"], sets: Int[Tensor, "N M"]) -> Bool[Tensor, " N"]:
    """For each set: whether it wins anywhere along an ascent of its margin from `start`.

    True is a witness; False is not a proof.
    """
    if len(sets) == 0:
        return torch.zeros(0, dtype=torch.bool)
    rows = max(1, TILE // head.vocab_size)
    return torch.cat(
        [_ascend(head, *part) for part in zip(start.split(rows), sets.split(rows), strict=True)]
    )


def _ascend(head: Head, vectors: Tensor, sets: Tensor) -> Tensor:
    reached = torch.zeros(len(sets), dtype=torch.bool)
    left = torch.arange(len(sets))
    for step in range(STEPS):
        vectors = vectors.detach().requires_grad_()
        logits = head(vectors)
        others = logits.scatter(1, sets, -torch.inf)
        own = logits.gather(1, sets)
        short = ~won(own.amin(1), others.amax(1), logits).detach()
        reached[left[~short]] = True
        if not short.any():
            break
        # many rivals count at first, only the strongest at last; strides shrink meanwhile
        done = step / STEPS
        sharpness = SHARPNESS**done / logits.detach().std(1, keepdim=True).clamp(min=1e-300)
        margin = -((-own * sharpness).logsumexp(1) + (others * sharpness).logsumexp(1))
        slope = torch.autograd.grad(margin[short].sum(), vectors)[0][short]
        vectors, sets, left = vectors[short], sets[short], left[short]
        stride = STRIDE ** (1 + done) * vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        vectors = vectors + stride * slope / slope.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return reached


def won(
    own: Float[Tensor, " N"], others: Float[Tensor, " N"], logits: Float[Tensor, "N V"]
) -> Bool[Tensor, " N"]:
    """Whether one logit is above another by more than rounding."""
    return own - others > SLACK * logits.abs().amax(-1)
