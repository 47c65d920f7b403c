"""Share of the logit gradient that the head does not pass down: what the hidden vector never hears.

The gradient of the loss with respect to V logits, g = p - y, reaches D hidden numbers as J^T g, where J is
the head's Jacobian: only its projection onto the column space of J (centred, as softmax is) survives. The
lost share of the norm was 95-99 % in public models (Godey & Artzi 2026, "Lost in Backpropagation"). A linear
head has one J; another head has one a row, obtained by automatic differentiation.

    gradient_lost          1 - |P g|^2 / |g|^2: of the squared norm
    gradient_norm_kept     |P g| / |g|, the cosine between the wanted and the possible change of logits
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, affine_form, centred
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading


class HeadGradient(HeadInstrument):
    """rows: at most this many positions, evenly spaced. Without targets, words are drawn from the model."""

    def __init__(self, *, rows: int = 256, seed: int = 0) -> None:
        if rows < 1:
            raise ValueError(f"rows is {rows}; measure at least 1")
        self.rows, self.seed = rows, seed

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        stride = math.ceil(len(hidden) / self.rows)
        rows = hidden[::stride]
        with torch.no_grad():
            gradient = head(rows).softmax(-1)
        if targets is None:
            draw = torch.Generator().manual_seed(self.seed)
            wanted = torch.multinomial(gradient.cpu(), 1, generator=draw).to(rows.device)
        else:
            wanted = targets[::stride].unsqueeze(1)
        gradient.scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=gradient.dtype))
        form = affine_form(head, hidden)
        if form is not None:
            kept = gradient @ _basis(centred(form[0].T).T)
        else:
            pairs = zip(rows, gradient, strict=True)
            kept = _ragged([g @ _basis(_jacobian(head, row)) for row, g in pairs])
        wrong = gradient.square().sum(-1)
        share = (
            kept.square().sum(-1)[wrong > 0] / wrong[wrong > 0]
        )  # certain rows have none to lose
        return [
            mean_reading("gradient_lost", 1 - share, "share of squared norm"),
            mean_reading("gradient_norm_kept", share.sqrt(), "share of norm"),
        ]


def _jacobian(head: Head, row: Float[Tensor, " D"]) -> Float[Tensor, "V D"]:
    """Derivative of the centred logits, one word-wide column a hidden number.

    Forward mode: rows do not see each other, so D copies of the row, each with its own unit tangent, give
    all columns in one pass.
    """
    units = torch.eye(len(row), dtype=row.dtype, device=row.device)
    with torch.no_grad(), forward_ad.dual_level():
        logits = head(forward_ad.make_dual(row.expand(len(row), -1).contiguous(), units))
        tangent = forward_ad.unpack_dual(logits).tangent
    return centred(tangent).T


def _basis(columns: Float[Tensor, "V D"]) -> Float[Tensor, "V K"]:
    """An orthonormal basis of the column space."""
    left, spectrum, _ = torch.linalg.svd(columns, full_matrices=False)
    noise = spectrum.max() * max(columns.shape) * torch.finfo(columns.dtype).eps
    return left[:, spectrum > noise]


def _ragged(rows: list[Tensor]) -> Float[Tensor, "R K"]:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
