"""Words that can never be the likeliest: certified for linear heads, by witnesses for others.

A word whose vector lies inside the hull of others' (with the bias: below it) never wins a greedy choice:
Demeter et al. 2020 ("stolen probability"), Grivas, Bogoychev & Lopez 2022. For a head that is an affine
map of the hidden vector every word gets a witness or a proof (see _reach), and the linear programme, solved
by HiGHS, must confirm every proof. For other heads only witnesses are sought, by gradient ascent from the
batch's own hidden vectors: the share without one is an upper bound, not a proof.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.energy import Head
from seqstate.core.instrument import HeadInstrument, affine_form
from seqstate.core.record import Reading
from seqstate.instruments._ascent import ascend, won
from seqstate.instruments._reach import Verdict, Words, decide, programme_agrees

LISTED = 100  # words named in the tags
TILE = 1 << 22  # logits held at once


class Unargmaxable(HeadInstrument):
    """words: at most this many are examined (drawn by `seed`); ascents: as many if only ascent can help.

    ball: also count the words that no hidden vector as short as the batch's longest can reach.
    """

    def __init__(
        self, *, words: int = 10_000, ascents: int = 1_000, ball: bool = False, seed: int = 0
    ) -> None:
        if words < 1 or ascents < 1:
            raise ValueError(f"wanted words >= 1 and ascents >= 1, found {words} and {ascents}")
        self.words, self.ascents, self.ball, self.seed = words, ascents, ball, seed

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        form = affine_form(head, hidden)
        draw = torch.Generator().manual_seed(self.seed)
        most = self.words if form is not None else self.ascents
        examined = torch.randperm(head.vocab_size, generator=draw)[:most].sort().values
        unseen = examined[~torch.isin(examined, _winners(head, hidden))]
        if form is None:
            reached = ascend(head, hidden[_best_rows(head, hidden)[unseen]], unseen.unsqueeze(1))
            lost = unseen[~reached].tolist()
            note = "witnesses only: an upper bound, this head is not a linear map"
            return [_share("argmax_unwitnessed", lost, examined, head.vocab_size, note)]
        readings = self._certified(*form, unseen, examined)
        if self.ball:
            longest = float(hidden.norm(dim=-1).max())
            readings.append(self._in_ball(*form, unseen, examined, longest))
        return readings

    def _certified(
        self, weight: Tensor, bias: Tensor, unseen: Tensor, examined: Tensor
    ) -> list[Reading]:
        words = Words.of(weight, bias)
        verdicts = decide(words, unseen.unsqueeze(1))
        lost, unsettled = [], []
        for word, verdict in zip(unseen.tolist(), verdicts, strict=True):
            if verdict.impossible and programme_agrees(words, word, verdict.rivals):
                lost.append(word)
            elif verdict.witness is None:
                unsettled.append(word)
        note = f"{len(unsettled)} words undecided in float64" if unsettled else ""
        return [_share("unargmaxable", lost, examined, len(bias), note)]

    def _in_ball(
        self, weight: Tensor, bias: Tensor, unseen: Tensor, examined: Tensor, radius: float
    ) -> Reading:
        verdicts: list[Verdict] = decide(Words.of(weight, bias, radius), unseen.unsqueeze(1))
        lost = [
            word for word, v in zip(unseen.tolist(), verdicts, strict=True) if v.witness is None
        ]
        note = f"hidden vectors no longer than {radius:.4g}, the longest of the batch"
        return _share("unargmaxable_in_ball", lost, examined, len(bias), note)


def _share(name: str, lost: list[int], examined: Tensor, vocab_size: int, note: str) -> Reading:
    """A share of the examined words; its standard error is that of the draw (none if all were)."""
    count = len(examined)
    share = len(lost) / count
    stderr = math.sqrt(share * (1 - share) / count) if count < vocab_size else None
    tags = {"words": lost[:LISTED], "found": len(lost), "note": note}
    return Reading(name, share, "share of words", count, stderr, tags)


def _winners(head: Head, hidden: Float[Tensor, "R D"]) -> Int[Tensor, " W"]:
    """Words that are strictly the likeliest at some row."""
    if head.vocab_size == 1:
        return torch.zeros(1, dtype=torch.long)
    found = []
    with torch.no_grad():
        for rows in hidden.split(max(1, TILE // head.vocab_size)):
            logits, who = head(rows).topk(2)
            found.append(who[:, 0][won(*logits.unbind(-1), logits)])
    return torch.cat(found).unique()


def _best_rows(head: Head, hidden: Float[Tensor, "R D"]) -> Int[Tensor, " V"]:
    """For each word the row at which it comes closest to winning."""
    best = torch.full((head.vocab_size,), -torch.inf, dtype=hidden.dtype, device=hidden.device)
    where = torch.zeros(head.vocab_size, dtype=torch.long, device=hidden.device)
    tile, first = max(1, TILE // head.vocab_size), 0
    with torch.no_grad():
        for rows in hidden[:1024].split(tile):
            logits = head(rows)
            margin, row = (logits - logits.amax(-1, keepdim=True)).max(0)
            where = torch.where(margin > best, first + row, where)
            best, first = torch.maximum(best, margin), first + len(rows)
    return where
