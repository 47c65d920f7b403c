"""The fused losses written out pair by pair in float64: values, gradients, and the size of their terms.

A gradient that is a sum of many terms of both signs may be much smaller than its terms; float32 can only be
asked to be right relative to these. `size` is the largest sum of absolute terms of each gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqstate.core.model import IGNORE

DISTANCES = ("tanh", "exponential", "clipped", "absolute")


def squash(x: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """sigma(x) and its derivative, clamped as the energy is."""
    if activation == "clamped":
        inside = (x.abs() <= 2).double()
        return (x / 4 + 0.5).clamp(0, 1), inside / 4
    inside, kept = (x.abs() <= 30).double(), x.clamp(-30, 30)
    if activation == "sigmoid":
        return 1 / (1 + (-kept).exp()), inside * kept.sigmoid() * (-kept).sigmoid()
    return (1 + kept / (2 + kept.abs())) / 2, inside / (2 + kept.abs()).square()


def cost(x: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """D(x) and its derivative."""
    if distance == "tanh":
        return x.tanh(), x.cosh().square().reciprocal()
    if distance == "exponential":
        return 1 - (-x).exp(), (-x).exp()
    if distance == "clipped":
        return x.clamp(max=1), (x <= 1).double()
    return x, torch.ones_like(x)


def loss_and_gradients(inputs, targets, upstream, *, kind, scale=1.0, smoothing=0.0, z_loss=0.0):
    """inputs: hidden, words, bias, tau, a, b (float64; "inner" and "absolute" do not use the last three,
    "rbf" and distances not the last). Of a distance there are as many tau and a as dimensions.

    Returns the losses and a dict name -> (gradient, size).
    """
    hidden, words, bias, tau, a, b = inputs
    groups = 1 if kind == "inner" else len(tau)
    rows, vocab = hidden.shape[0], words.shape[0]
    h, w = hidden.view(rows, 1, groups, -1), words.view(1, vocab, groups, -1)
    dot = (h * w).sum(-1)
    if kind == "inner":
        logits = scale * dot.squeeze(-1) + bias
    elif kind in DISTANCES:
        ahead = (h - w).squeeze(-1)
        if kind == "absolute":
            tau = a = torch.ones_like(tau)
        miss, slope = cost(a * ahead.abs(), kind)
        logits = bias - (tau * miss).sum(-1)
    elif kind == "rbf":
        square = (h - w).square().sum(-1)
        miss = -(-a * square).exp()  # a reward, not a cost
        logits = bias - (tau * miss).sum(-1)
    else:
        miss, slope = squash(-(a * dot + b), kind)
        logits = bias - (tau * miss).sum(-1)
    log_z = torch.logsumexp(logits, -1, keepdim=True)
    asked = targets != IGNORE
    wanted = torch.full_like(logits, smoothing / vocab)
    wanted[asked, targets[asked]] += 1 - smoothing
    losses = (wanted * (log_z - logits)).sum(-1) + z_loss * log_z.squeeze(-1).square()
    given = (upstream * asked).unsqueeze(-1)
    by_p = (1 + 2 * z_loss * log_z) * (logits - log_z).exp()
    to_logits, parts = given * (by_p - wanted), given.abs() * (by_p.abs() + wanted)
    found = {"bias": (to_logits.sum(0), parts.sum(0).max())}
    factors = {}  # what each gradient multiplies the gradient of the logits by, and the axes it sums over
    if kind == "rbf":
        inner = -2 * a * tau * miss
        factors = {
            "tau": (-miss, (0, 1)),
            "a": (tau * miss * square, (0, 1)),
            "hidden": ((inner.unsqueeze(-1) * (w - h)), 1),
            "words": ((inner.unsqueeze(-1) * (h - w)), 0),
        }
    elif kind in DISTANCES:
        inner = -tau * slope
        along = (a * inner * ahead.sign()).unsqueeze(-1)
        factors = {
            "tau": (-miss, (0, 1)),
            "a": (inner * ahead.abs(), (0, 1)),
            "hidden": (along, 1),
            "words": (-along, 0),
        }
    elif kind == "inner":
        inner = torch.full((rows, vocab, 1), scale, dtype=torch.float64)
    else:
        inner = tau * slope
        factors = {"tau": (-miss, (0, 1)), "a": (inner * dot, (0, 1)), "b": (inner, (0, 1))}
        inner = inner * a
    if "hidden" not in factors:
        factors["hidden"] = (inner.unsqueeze(-1) * w, 1)
        factors["words"] = (inner.unsqueeze(-1) * h, 0)
    for name, (factor, axes) in factors.items():
        shape = to_logits.shape + (1,) * (factor.dim() - 2)
        gradient = (to_logits.view(shape) * factor).sum(axes)
        size = (parts.view(shape) * factor.abs()).sum(axes).max()
        found[name] = (gradient.flatten(1) if gradient.dim() > 1 else gradient, size)
    return losses * asked, found
