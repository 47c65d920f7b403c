"""Words a screen leaves, and how many of the likeliest are among them.

    screening_scored     share of the vocabulary whose energy is paid
    screening_top1       share of positions whose likeliest word is left
    screening_recall     share of the k likeliest words that are left
    screening_certain    share of positions at which the screen is certain of the k likeliest

Against all logits, in float64, at positions of the batch. Of words that tie with the k-th any may be left.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core import registry
from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument
from seqstate.core.record import Reading
from seqstate.core.screen import Screen
from seqstate.instruments._mean import mean_reading

TOGETHER = 64  # positions at a time
TIE = (
    1e-6  # of the largest logit: float32's rounding, within which words are as likely as each other
)


class Screening(HeadInstrument):
    """screen: a spec, see `screens/`. k: likeliest words wanted. rows: at most so many positions."""

    def __init__(self, *, screen: str = "certified", k: int = 10, rows: int = 256) -> None:
        if k < 1 or rows < 1:
            raise ValueError(f"wanted k >= 1 and rows >= 1, found {k} and {rows}")
        self.screen, self.k, self.rows = screen, k, rows

    def reads(self, head: Head) -> bool:
        try:
            self._screen(head)
        except ValueError:
            return False
        return True

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        screen, rows = self._screen(head), hidden[:: math.ceil(len(hidden) / self.rows)]
        parts = [_kept(screen, part, self.k) for part in rows.split(TOGETHER)]
        left, first, recall, certain = (torch.cat(part) for part in zip(*parts, strict=True))
        note = f"{self.screen}, k = {min(self.k, head.vocab_size)}"
        found = [
            mean_reading("screening_scored", left, "share of words"),
            mean_reading("screening_top1", first, "share of positions"),
            mean_reading("screening_recall", recall, "share of words"),
            mean_reading("screening_certain", certain, "share of positions"),
        ]
        for reading in found:
            reading.tags["note"] = note
        return found

    def _screen(self, head: Head) -> Screen:
        return registry.build("screens", self.screen, head=head)


@torch.no_grad()
def _kept(screen: Screen, hidden: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each position: words scored, likeliest kept, share of the k likeliest kept, certain."""
    found, logits = screen.shortlist(hidden, k), screen.head(hidden)
    best = logits.topk(min(k, logits.shape[-1])).values
    least = best - TIE * logits.abs().amax(-1, keepdim=True)
    reached = (found.logits >= least[:, -1:]).sum(-1).clamp(max=best.shape[-1])
    return (
        found.scored.double() / logits.shape[-1],
        (found.logits >= least[:, :1]).any(-1).double(),
        reached.double() / best.shape[-1],
        found.certain.double(),
    )
