"""The fused losses in plain torch: slow twins, second derivatives, and the path without a kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seqstate.core.energy import TILE, tiled_nll
from seqstate.core.model import IGNORE

CLAMP = 30.0


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x.clamp(-CLAMP, CLAMP))


def _clamped(x: Tensor) -> Tensor:
    return (x / 4 + 0.5).clamp(0, 1)


def _rational(x: Tensor) -> Tensor:
    x = x.clamp(-CLAMP, CLAMP)
    return (1 + x / (2 + x.abs())) / 2


DISTANCES = {
    "tanh": torch.tanh,
    "exponential": lambda x: -torch.expm1(-x),
    "clipped": lambda x: x.clamp_max(1.0),
}
ACTIVATIONS = {"sigmoid": _sigmoid, "clamped": _clamped, "rational": _rational}


def inner_logits(
    rows: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    scale: float,
) -> Float[Tensor, "R V"]:
    """scale <h, w> + bias."""
    logits = scale * (rows @ words.T)
    return logits if bias is None else logits + bias


def multi_hamming_logits(
    rows: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " G"],
    a: Float[Tensor, " G"],
    b: Float[Tensor, " G"],
    bias: Float[Tensor, " V"] | None,
    activation: str,
) -> Float[Tensor, "R V"]:
    """bias - sum_g tau_g sigma(-(a_g <h_g, w_g> + b_g))."""
    groups, squash = tau.shape[0], ACTIVATIONS[activation]
    logits = torch.zeros(()).to(rows) if bias is None else bias
    features = zip(rows.chunk(groups, -1), words.chunk(groups, -1), tau, a, b, strict=True)
    for rows_g, words_g, tau_g, a_g, b_g in features:
        logits = logits - tau_g * squash(-(a_g * (rows_g @ words_g.T) + b_g))
    return logits


def rbf_logits(
    rows: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " G"],
    a: Float[Tensor, " G"],
    bias: Float[Tensor, " V"] | None,
) -> Float[Tensor, "R V"]:
    """bias + sum_g tau_g exp(-a_g |h_g - w_g|^2)."""
    logits = torch.zeros(()).to(rows) if bias is None else bias
    features = zip(rows.chunk(len(tau), -1), words.chunk(len(tau), -1), tau, a, strict=True)
    for rows_g, words_g, tau_g, a_g in features:
        lengths = rows_g.square().sum(-1, keepdim=True) + words_g.square().sum(-1)
        distance = (lengths - 2 * (rows_g @ words_g.T)).clamp_min(0)
        logits = logits + tau_g * torch.exp(-a_g * distance)
    return logits


def hamming_logits(
    rows: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " D"],
    a: Float[Tensor, " D"],
    bias: Float[Tensor, " V"] | None,
    distance: str,
) -> Float[Tensor, "R V"]:
    """bias - sum_d tau_d D(a_d |h_d - w_d|)."""
    logits = torch.zeros(()).to(rows) if bias is None else bias
    for h, w, tau_d, a_d in zip(rows.unbind(-1), words.unbind(-1), tau, a, strict=True):
        logits = logits - tau_d * DISTANCES[distance](a_d * (h.unsqueeze(-1) - w).abs())
    return logits


def l1_logits(
    rows: Float[Tensor, "R D"], words: Float[Tensor, "V D"], bias: Float[Tensor, " V"] | None
) -> Float[Tensor, "R V"]:
    """bias - sum_d |h_d - w_d|."""
    logits = torch.zeros(()).to(rows) if bias is None else bias
    for h, w in zip(rows.unbind(-1), words.unbind(-1), strict=True):
        logits = logits - (h.unsqueeze(-1) - w).abs()
    return logits


def coded_logits(
    tables: Float[Tensor, "*B G C"], codes: UInt8[Tensor, "V G"], bias: Float[Tensor, " V"] | None
) -> Float[Tensor, "*B V"]:
    """bias_v + sum_g table_g[code_g(v)], in this order."""
    logits = tables.new_zeros(len(codes)) if bias is None else bias
    for g in range(codes.shape[1]):
        logits = logits + tables[..., g, :].index_select(-1, codes[:, g].int())
    return logits


def nll(
    logits_of: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "R D"],
    targets: Int[Tensor, " R"],
    vocab_size: int,
    *,
    label_smoothing: float,
    z_loss: float,
) -> Float[Tensor, " R"]:
    """Cross-entropy per row in tiles of rows recomputed going back, with the two regularisers."""
    # not even a NaN of a row that is ignored may reach a gradient
    hidden = hidden.masked_fill((targets == IGNORE).unsqueeze(-1), 0.0)
    if not label_smoothing and not z_loss:
        return tiled_nll(logits_of, hidden, targets, vocab_size)

    def tile_nll(rows: Tensor, wanted: Tensor) -> Tensor:
        logits = logits_of(rows).to(torch.promote_types(rows.dtype, torch.float32))
        loss = F.cross_entropy(
            logits, wanted, reduction="none", ignore_index=IGNORE, label_smoothing=label_smoothing
        )
        loss = loss + z_loss * logits.logsumexp(-1).square()
        return loss.where(wanted != IGNORE, 0.0)

    tile = max(1, TILE // vocab_size)
    parts = zip(hidden.split(tile), targets.split(tile), strict=True)
    return torch.cat([checkpoint(tile_nll, *part, use_reentrant=False) for part in parts])
