"""Learnt increasing piecewise linear function of the usual logits: one slope a slice.

f has `pieces` slices of equal width over [-limit, limit] with slopes softplus(s_i) > 0 and goes on straight
outside; it starts as the identity. Its knots raise the rank of the log-probability matrix above D + 1.
Source: Ganea, Gelly, Becigneul & Severyn 2019, https://arxiv.org/abs/1902.08077 (10^5 pieces and limit 20
in their code; here fewer by default, so that every slope is trained often).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.energies._pointwise import PointwiseHead


class PLIF(PointwiseHead):
    """pieces: slopes that are learnt. limit: logits beyond it share the outermost slopes."""

    def __init__(
        self, *, width: int = 128, vocab_size: int, pieces: int = 100, limit: float = 20.0
    ) -> None:
        super().__init__(width, vocab_size)
        if pieces < 1 or limit <= 0:
            raise ValueError(f"pieces={pieces}, limit={limit}: both must be positive")
        self.pieces, self.limit = pieces, limit
        unit_slope = math.log(math.expm1(1.0))  # softplus of it is 1
        self.slope = nn.Parameter(torch.full((pieces,), unit_slope))

    def bend(self, z: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        step = 2 * self.limit / self.pieces
        slopes = F.softplus(self.slope)
        heights = step * (slopes.cumsum(0) - slopes) - self.limit  # f at the left end of each piece
        piece = z.detach().add(self.limit).div(step).clamp(0, self.pieces - 1).long()
        return heights[piece] + slopes[piece] * (z - (piece.to(z.dtype) * step - self.limit))
