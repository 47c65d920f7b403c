"""Share of the logit gradient that the head does not pass down to the hidden vector.

The gradient of the loss with respect to V logits, g = p - y, reaches D hidden numbers as J^T g, where J is
the head's Jacobian: only its projection onto the column space of J (centred, as softmax is) survives. The
lost share of the norm was 95-99 % in public models (Godey & Artzi 2026, "Lost in Backpropagation"). A linear
head has one J; another head has one a row, obtained by automatic differentiation.

    gradient_lost          1 - |P g|^2 / |g|^2: of the squared norm
    gradient_norm_kept     |P g| / |g|, the cosine between the wanted and the possible change of logits
"""

from __future__ import annotations

import math
import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, affine_form, centred
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading

TILE = 1 << 22  # derivatives held at once


class HeadGradient(HeadInstrument):
    """rows: at most this many positions, evenly spaced; curved: as many if each has a Jacobian of its own.

    Without targets, words are drawn from the model's own distribution, by `seed`.
    """

    def __init__(self, *, rows: int = 256, curved: int = 32, seed: int = 0) -> None:
        if rows < 1 or curved < 1:
            raise ValueError(f"wanted rows >= 1 and curved >= 1, found {rows} and {curved}")
        self.rows, self.curved, self.seed = rows, curved, seed

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        form = affine_form(head, hidden)
        stride = math.ceil(len(hidden) / (self.curved if form is None else self.rows))
        rows = hidden[::stride]
        with torch.no_grad():
            gradient = head(rows).softmax(-1)
        if targets is None:
            draw = torch.Generator().manual_seed(self.seed)
            wanted = torch.multinomial(gradient.cpu(), 1, generator=draw).to(rows.device)
        else:
            wanted = targets[::stride].unsqueeze(1)
        gradient.scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=gradient.dtype))
        if form is None:
            kept = _heard_curved(head, rows, gradient)
        else:
            kept = gradient @ _basis(centred(form[0].T).T)
        size = gradient.square().sum(-1)
        share = (kept.square().sum(-1) / size)[size > 0]  # a certain row has nothing to lose
        if len(share) == 0:
            return []
        return [
            mean_reading("gradient_lost", 1 - share, "share of squared norm"),
            mean_reading("gradient_norm_kept", share.sqrt(), "share of norm"),
        ]


def jacobians(head: Head, rows: Float[Tensor, "R D"]) -> Float[Tensor, "R V D"]:
    """Derivative of the centred logits at each row.

    Forward mode: rows do not see each other, so D copies of a row, each with its own unit tangent, give
    all its columns in one pass.
    """
    count, width = rows.shape
    copies = rows.repeat_interleave(width, 0)
    units = torch.eye(width, dtype=rows.dtype, device=rows.device).repeat(count, 1)
    with torch.no_grad(), warnings.catch_warnings(), forward_ad.dual_level():
        # torch compiles its forward-mode rules, once, with its own deprecated script compiler
        warnings.simplefilter("ignore", DeprecationWarning)
        tangent = forward_ad.unpack_dual(head(forward_ad.make_dual(copies, units))).tangent
    return centred(tangent).unflatten(0, (count, width)).transpose(1, 2)


def _heard_curved(
    head: Head, rows: Float[Tensor, "R D"], gradient: Float[Tensor, "R V"]
) -> Float[Tensor, "R K"]:
    """Coordinates of each row's gradient in the column space of the Jacobian there."""
    tile = max(1, TILE // (head.vocab_size * rows.shape[1]))
    kept = []
    for part, wrong in zip(rows.split(tile), gradient.split(tile), strict=True):
        pairs = zip(wrong, jacobians(head, part), strict=True)
        kept += [row @ _basis(jacobian) for row, jacobian in pairs]
    return torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)


def _basis(columns: Float[Tensor, "V D"]) -> Float[Tensor, "V K"]:
    """An orthonormal basis of the column space."""
    base, triangle = torch.linalg.qr(columns)
    left, spectrum, _ = torch.linalg.svd(triangle)
    noise = spectrum.max() * max(columns.shape) * torch.finfo(columns.dtype).eps
    return base @ left[:, : len(spectrum)][:, spectrum > noise]
