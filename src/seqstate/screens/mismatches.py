"""Mismatches: a word that differs from what the state asks for in three features is thrown away unscored.

The essay's screen (catsmile.info/3002, 2022). Words have codes of G bits, the state asks for bits, and a scan
over packed codes counts in how many of them each word differs; `most` of them and it is out. Not every bit
matters to every state: the `counted` ones are those whose miss costs the most. And words that win by their
bias win whatever their bits are: the `common` ones are always scored. What such a screen keeps is measured,
not promised (instrument `screening`), but each row says whether it is certain: then even the least that
`most` misses cost puts every word thrown away below the k best. If fewer than k words would be left, more
misses are allowed. For energies with codes: `soft_bits`, and `hamming` with squashed sides.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, HasCodes, Head
from seqstate.core.screen import Screen, Shortlist, scored
from seqstate.native.mismatches import few_mismatches, packed

ROUNDING = 1e-5  # of sums in float32, as a share of their terms


class Mismatches(Screen):
    """most: mismatches that throw a word away. counted: bits that count, the dearest ones (0: all).

    common: words of the largest bias that are never thrown away.
    """

    exact = False

    def __init__(
        self, *, head: Head | nn.Linear, most: int = 3, counted: int = 16, common: int = 512
    ) -> None:
        super().__init__(head=head)
        energy = head.energy if isinstance(head, EnergyHead) else head
        if not (isinstance(head, EnergyHead) and isinstance(energy, HasCodes)):
            raise ValueError(
                f"{type(energy).__name__} has no codes whose mismatches could be counted; soft_bits and "
                "hamming have, and certified screens other energies"
            )
        if most < 1 or counted < 0 or common < 0:
            raise ValueError(
                f"most={most}, counted={counted}, common={common}: wanted at least 1, 0 and 0"
            )
        with torch.no_grad():
            bits = energy.key_code(head.weight)
            bias = head.weight.new_zeros(len(bits)) if head.bias is None else head.bias.detach()
        self.energy, self.most = energy, most
        self.counted = min(counted or bits.shape[1], bits.shape[1])
        order = bias.argsort(descending=True, stable=True)
        self.common, self.others = order[:common], order[common:].sort().values
        self.codes = packed(bits[self.others]).T.contiguous()
        self.most_bias = float(bias[self.others].max()) if len(self.others) else -math.inf

    @torch.no_grad()
    def shortlist(self, hidden: Float[Tensor, "R D"], k: int = 1) -> Shortlist:
        bits, costs, least = self.energy.query_code(hidden)
        dearest = costs.topk(self.counted)
        counts = torch.zeros_like(bits).scatter(-1, dearest.indices, True)
        k, asked = min(k, self.head.vocab_size), (packed(bits), packed(counts))
        most = torch.full((len(hidden),), self.most)
        while True:
            few = few_mismatches(self.codes, *asked, most)
            short = torch.tensor([len(self.common) + len(row) < k for row in few])
            if not bool(short.any()):
                break
            most = most + short
        kept = [torch.cat([self.common, self.others[row.to(self.others.device)]]) for row in few]
        words, logits = scored(self.head, hidden, kept)
        # the cheapest of the counted mismatches are the last ones
        cheapest = dearest.values.flip(-1).cumsum(-1)
        at = (most.to(costs.device) - 1).clamp(max=self.counted - 1)
        above = self.most_bias - least - cheapest.gather(-1, at[:, None]).squeeze(-1)
        above = above + ROUNDING * (least.abs() + abs(self.most_bias))
        counts = torch.tensor([len(row) for row in kept], device=hidden.device)
        certain = logits.topk(k).values[:, -1] >= above
        certain |= (most > self.counted).to(certain.device) | (counts == self.head.vocab_size)
        return Shortlist(words, logits, certain, counts)
