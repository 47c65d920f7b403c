"""Mismatches: a word that differs from what the state asks for in three features is thrown away unscored.

The essay's screen (catsmile.info/3002, 2022). Words have codes of G bits, the state asks for bits, and a scan
over packed codes counts in how many of them each word differs; `most` of them and it is out. Not every bit
matters to every state: the `counted` ones are those whose miss costs the most. What such a screen keeps is
measured, not promised (instrument `screening`), but each row says whether it is certain: then even the least
that `most` misses cost puts every word thrown away below the k best. If fewer than k words would be left,
more misses are allowed. For energies with codes: `soft_bits`, and `hamming` with squashed sides.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, HasCodes, Head
from seqstate.core.screen import Screen, Shortlist, scored
from seqstate.native.mismatches import few_mismatches, packed


class Mismatches(Screen):
    """most: mismatches that throw a word away. counted: bits that count, the dearest ones (0: all)."""

    exact = False

    def __init__(self, *, head: Head | nn.Linear, most: int = 3, counted: int = 0) -> None:
        super().__init__(head=head)
        energy = head.energy if isinstance(head, EnergyHead) else head
        if not (isinstance(head, EnergyHead) and isinstance(energy, HasCodes)):
            raise ValueError(
                f"{type(energy).__name__} has no codes whose mismatches could be counted; soft_bits and "
                "hamming have, and certified screens other energies"
            )
        with torch.no_grad():
            bits = energy.key_code(head.weight)
        self.bits = bits.shape[1]
        if most < 1 or not 0 <= counted <= self.bits:
            raise ValueError(
                f"most={most}, counted={counted}: at least one mismatch, and of {self.bits} bits"
            )
        self.energy, self.most, self.counted = energy, most, counted or self.bits
        self.codes = packed(bits).T.contiguous()
        self.most_bias = 0.0 if head.bias is None else float(head.bias.detach().max())

    @torch.no_grad()
    def shortlist(self, hidden: Float[Tensor, "R D"], k: int = 1) -> Shortlist:
        bits, costs, least = self.energy.query_code(hidden)
        dearest = costs.topk(self.counted)
        counts = torch.zeros_like(bits).scatter(-1, dearest.indices, True)
        asked, counted = packed(bits), packed(counts)
        most = torch.full((len(hidden),), self.most)
        kept = few_mismatches(self.codes, asked, counted, most)
        k = min(k, self.head.vocab_size)
        while bool((short := torch.tensor([len(row) < k for row in kept])).any()):
            most = most + short
            kept = few_mismatches(self.codes, asked, counted, most)
        words, logits = scored(self.head, hidden, kept)
        # the cheapest of the counted mismatches are the last ones
        cheapest = dearest.values.flip(-1).cumsum(-1)
        missed = cheapest.gather(
            -1, (most.to(costs.device) - 1).clamp(max=self.counted - 1)[:, None]
        )
        above = self.most_bias - least - missed.squeeze(-1)
        scores = torch.tensor([len(row) for row in kept], device=hidden.device)
        certain = (logits.topk(k).values[:, -1] >= above) | (scores == self.head.vocab_size)
        return Shortlist(words, logits, certain, scores)
