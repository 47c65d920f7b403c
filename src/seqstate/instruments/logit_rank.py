"""Rank of the log-probability matrix: declared, measured, and how many dimensions it really uses.

Rows are contexts, columns words. Less its row mean (which no softmax sees) the matrix of an inner product
of D numbers with a bias has rank D + 1 at most: the softmax bottleneck (Yang et al. 2018). Computed in
float64 from the model's own hidden vectors. Four numbers, since rank alone is not quality:

    logit_rank      singular values above max/2 sqrt(R + V + 1) eps (Press et al. 2007, section 2.6)
    eps_rank_mass   fewest dimensions that keep 1 - eps of the squared mass
    eps_rank_kl     a k at which the best rank-k matrix costs eps nats a row, KL(p || p_k), and k - 1 more
    entropic_rank   exp of the entropy of the normalised singular values (Roy & Vetterli 2007)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, ReadsLogits, centred
from seqstate.core.record import Reading


class LogitRank(HeadInstrument, ReadsLogits):
    """rows: at most this many hidden vectors, evenly spaced (the rank is capped by them). eps: see above."""

    def __init__(self, *, rows: int = 1024, eps: float = 0.01) -> None:
        if rows < 2 or not 0 < eps < 1:
            raise ValueError(f"wanted rows >= 2 and 0 < eps < 1, found rows={rows}, eps={eps}")
        self.rows, self.eps = rows, eps

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        stride = math.ceil(len(hidden) / self.rows)
        with torch.no_grad():
            logits = head(hidden[::stride])
        bound = head.rank_bound()
        declared = [] if bound is None else [Reading("rank_bound", bound, "dimensions")]
        return [*declared, *self.of_logits(logits)]

    def of_logits(self, logits: Float[Tensor, "R V"]) -> list[Reading]:
        """The readings of a matrix of logits or log-probabilities, of the precision it was computed in."""
        logits = logits[:: math.ceil(len(logits) / self.rows)]
        matrix = centred(logits.double())
        rows = len(matrix)
        left, spectrum = _left_svd(matrix)
        # rounding is as large as the logits were before their mean was taken off
        largest = math.hypot(float(spectrum.max()), float((logits.double() - matrix).norm()))
        rank = press_rank(spectrum, largest, matrix.shape, torch.finfo(logits.dtype).eps)
        note = f"capped by the {rows} rows measured" if rank == rows else ""
        return [
            Reading(
                "logit_rank",
                rank,
                "dimensions",
                rows,
                tags={"spectrum": spectrum.tolist(), "vocab_size": matrix.shape[1], "note": note},
            ),
            Reading("eps_rank_mass", mass_rank(spectrum, self.eps), "dimensions", rows),
            Reading("eps_rank_kl", _kl_rank(matrix, left, rank, self.eps), "dimensions", rows),
            Reading("entropic_rank", entropic_rank(spectrum), "dimensions", rows),
        ]


def press_rank(
    spectrum: Float[Tensor, " K"], largest: float, shape: tuple[int, ...], eps: float
) -> int:
    """Singular values that are not rounding noise; `largest`: that of the matrix as it was computed."""
    noise = largest / 2 * math.sqrt(sum(shape) + 1) * eps
    return int((spectrum > noise).sum())


def mass_rank(spectrum: Float[Tensor, " K"], eps: float) -> int:
    """Fewest singular values that hold 1 - eps of the sum of squares."""
    kept = spectrum.square().cumsum(0)
    return int((kept < (1 - eps) * kept[-1]).sum()) + 1 if kept[-1] > 0 else 0


def entropic_rank(spectrum: Float[Tensor, " K"]) -> float:
    """exp of the entropy of the singular values as a distribution; 0 for a zero matrix."""
    if spectrum.sum() == 0:
        return 0.0
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def _left_svd(
    matrix: Float[Tensor, "R V"],
) -> tuple[Float[Tensor, "R K"], Float[Tensor, " K"]]:
    """Left singular vectors and singular values, without the V-wide right ones."""
    triangle = torch.linalg.qr(matrix.T, mode="r").R
    left, spectrum, _ = torch.linalg.svd(triangle.T, full_matrices=False)
    return left, spectrum


def _kl_rank(
    matrix: Float[Tensor, "R V"], left: Float[Tensor, "R K"], rank: int, eps: float
) -> int:
    """By bisection: the truncated matrix costs at most eps with k dimensions and more with k - 1."""
    wanted = matrix.log_softmax(-1)
    weights = wanted.exp()

    def cost(k: int) -> float:
        kept = (left[:, :k] @ (left[:, :k].T @ matrix)).log_softmax(-1)
        return float((weights * (wanted - kept)).sum(-1).mean())

    if cost(0) <= eps:
        return 0
    low, high = 0, rank
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= eps else (middle, high)
    return high
