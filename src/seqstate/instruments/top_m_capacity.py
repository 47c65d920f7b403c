"""Top-m capacity: how many sets of m words a head can put on top, alone or in any proportion.

A context with several good continuations needs their words together above all others; words whose vectors
lie between others cannot be (Chang & McCallum 2022 on multi-modal contexts; Grivas, Vergari & Lopez 2023 on
sets of labels; Weller et al. 2025 on retrieval). Two grades, both decided by _reach, exactly:

    top_m_sets              some hidden vector puts the m words above all others (separable from them)
    top_m_distributions     some direction gives them equal logits above all others, and their vectors are
                            affinely independent (a face of the hull): far along it every distribution
                            over the m words is reached, with nothing left for other words

Words on a moment curve in D dimensions do the latter for every m <= D/2 and no arrangement does for m more
(neighbourly polytopes; Gale 1963). The sets asked are m words drawn from the 4m likeliest of a real context,
since those are the ones that compete. For a head of any form

    top_m_witnessed         the share of those sets that gradient ascent puts on top: a lower bound of the
                            first grade, and the number to compare different kinds of head by
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, affine_form
from seqstate.core.record import Reading
from seqstate.instruments._ascent import ascend
from seqstate.instruments._reach import Words, decide


class TopMCapacity(HeadInstrument):
    """m: words a set. sets: how many are asked, drawn by `seed`."""

    def __init__(self, *, m: int = 4, sets: int = 100, seed: int = 0) -> None:
        if m < 1 or sets < 1:
            raise ValueError(f"wanted m >= 1 and sets >= 1, found m={m}, sets={sets}")
        self.m, self.sets, self.seed = m, sets, seed

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        if self.m >= head.vocab_size:
            return []  # every word is in the set: there is nothing to reach
        rows, sets = self.ask(head, hidden)
        reached = ascend(head, hidden[rows], sets).tolist()
        witnessed = self._share("top_m_witnessed", reached, "a lower bound, by gradient ascent")
        form = affine_form(head, hidden)
        if form is None:
            return [witnessed]
        separable = [v.witness is not None for v in decide(Words.of(*form), sets)]
        faces = [is_face(form[0], chosen) for chosen in sets]
        return [
            self._share("top_m_sets", separable, ""),
            self._share("top_m_distributions", faces, ""),
            witnessed,
        ]

    def ask(
        self, head: Head, hidden: Float[Tensor, "R D"]
    ) -> tuple[Int[Tensor, " N"], Int[Tensor, "N M"]]:
        """The contexts drawn and, for each, m of its 4m likeliest words."""
        draw = torch.Generator().manual_seed(self.seed)
        rows = torch.randint(len(hidden), (self.sets,), generator=draw)
        with torch.no_grad():
            likely = torch.cat(
                [
                    head(part).topk(min(4 * self.m, head.vocab_size)).indices
                    for part in hidden[rows].split(64)
                ]
            )
        places = torch.rand(likely.shape, generator=draw).argsort(-1)[:, : self.m]
        return rows, likely.gather(1, places.to(likely.device))

    def _share(self, name: str, reached: list[bool], note: str) -> Reading:
        count = len(reached)
        share = sum(reached) / count
        stderr = math.sqrt(share * (1 - share) / count)
        return Reading(
            name, share, f"share of sets of {self.m}", count, stderr, {"m": self.m, "note": note}
        )


def is_face(weight: Float[Tensor, "V D"], chosen: Int[Tensor, " M"]) -> bool:
    """Whether the chosen words span a face of the hull of all words, and are affinely independent."""
    edges = weight[chosen[1:]] - weight[chosen[:1]]
    _, spectrum, across = torch.linalg.svd(edges, full_matrices=True)
    flat = spectrum < 1e-9 * weight.abs().max()
    if len(edges) >= weight.shape[1] or bool(flat.any()):
        return False
    level = weight @ across[len(edges) :].T  # on these directions the chosen words are equal
    verdict = decide(Words.of(level, torch.zeros_like(level[:, 0])), chosen.unsqueeze(0))[0]
    if verdict.witness is None:
        return False
    logits = level @ verdict.witness
    rest = logits.scatter(0, chosen, -torch.inf)
    return bool(logits[chosen].min() - rest.max() > 1e-9 * logits.abs().max())
