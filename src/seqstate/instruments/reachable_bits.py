"""Bit patterns a head of rank d can show: how many of 2^G, counted and bounded.

Take G words and ask of each whether its logit is above the mean of the row (the only zero a softmax knows).
The G answers are signs of G affine functions of D hidden numbers, so at most sum_{k<=D} C(G, k) of the 2^G
patterns are reachable (Cover 1965; Zaslavsky 1975), all of them if G <= D: "2^d patterns" is what d bits
have, not what d numbers give V words. In bits (log2), for heads that are affine:

    pattern_bound       of all V words together, by the head's measured rank; beside V, the free choice
    patterns            of `words` drawn words, counted exactly: cells of a hyperplane arrangement, by adding
                        one hyperplane after another and asking a linear programme which cells it cuts
and for every head:
    patterns_seen       of those words, over the batch's hidden vectors
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, affine_form, centred
from seqstate.core.record import Reading

Point = NDArray[np.float64]


class ReachableBits(HeadInstrument):
    """words: G, drawn by `seed`; the exact count visits every reachable pattern, so keep it small."""

    def __init__(self, *, words: int = 8, seed: int = 0) -> None:
        if not 1 <= words <= 16:
            raise ValueError(f"words is {words}; patterns are counted for 1 to 16 words")
        self.words, self.seed = words, seed

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        draw = torch.Generator().manual_seed(self.seed)
        words = torch.randperm(head.vocab_size, generator=draw)[: self.words]
        with torch.no_grad():
            signs = torch.cat([centred(head(part))[:, words] > 0 for part in hidden.split(256)])
        tags = {"words": len(words)}
        seen = len(signs.unique(dim=0))
        readings = [Reading("patterns_seen", math.log2(seen), "bit", len(hidden), tags=tags)]
        form = affine_form(head, hidden)
        if form is None:
            return readings
        weight, bias = form
        rank = int(torch.linalg.matrix_rank(weight))
        count = count_cells(weight[words], bias[words])
        note = f"{head.vocab_size} words, free choice would be {head.vocab_size} bit"
        return [
            Reading("pattern_bound", log2_cells(head.vocab_size, rank), "bit", tags={"note": note}),
            Reading("patterns", math.log2(count), "bit", tags=tags),
            *readings,
        ]


def log2_cells(planes: int, rank: int) -> float:
    """log2 of sum_{k<=rank} C(planes, k): the most cells `planes` affine hyperplanes cut."""
    logs = [
        math.lgamma(planes + 1) - math.lgamma(k + 1) - math.lgamma(planes - k + 1)
        for k in range(min(rank, planes) + 1)
    ]
    most = max(logs)
    return (most + math.log(sum(math.exp(one - most) for one in logs))) / math.log(2)


def count_cells(weight: Float[Tensor, "G D"], bias: Float[Tensor, " G"]) -> int:
    """How many sign patterns of weight @ h + bias occur over all h."""
    if int(torch.linalg.matrix_rank(weight)) == len(weight):
        return 2 ** len(weight)  # independent answers: any signs can be solved for
    scale = weight.abs().max().clamp(min=1e-300)
    planes = torch.cat([weight / scale, bias.unsqueeze(1) / bias.abs().max().clamp(min=1e-300)], 1)
    rows = planes.cpu().numpy()
    cells: list[tuple[list[float], Point | None]] = [([], None)]
    for index, plane in enumerate(rows):
        cut = []
        for signs, point in cells:
            side = 0.0 if point is None else float(plane @ point)
            for sign in (1.0, -1.0):
                # the cell's own point already shows one of its two sides
                inside = point if sign * side > 1e-6 else _point(rows[: index + 1], [*signs, sign])
                if inside is not None:
                    cut.append(([*signs, sign], inside))
        cells = cut
    return len(cells)


def _point(planes: Point, signs: list[float]) -> Point | None:
    """Some (x, s), s >= 0, with exactly these signs, as far from all planes as the unit box allows."""
    width = planes.shape[1]
    found = linprog(
        np.append(np.zeros(width), -1.0),
        A_ub=np.column_stack([-np.array(signs)[:, None] * planes, np.ones(len(planes))]),
        b_ub=np.zeros(len(planes)),
        bounds=[(-1.0, 1.0)] * (width - 1) + [(0.0, 1.0), (None, 1.0)],
        method="highs",
    )
    return found.x[:-1] if found.status == 0 and -found.fun > 1e-7 else None
