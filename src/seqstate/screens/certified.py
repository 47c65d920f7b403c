"""Certified: no word of the k likeliest is ever thrown away; a bound from bytes says which cannot be.

Every word is kept a second time in 8 bits a number. One pass over them gives each logit up to an error
that is bounded by lengths, and a word whose upper bound is below k others' lower bounds is out, unscored: a
quarter of the memory is read, and a few words more than k are paid for. It holds for every query by itself;
published shortlists state a recall instead (Chen et al. 2019, https://arxiv.org/abs/1810.12406).
Works for energies that are an inner product of what each side becomes (`inner`, `scaled_inner`, `cosine`,
`l2`, `soft_bits`), for `multi_hamming`, feature by feature, and for nn.Linear.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, HasMisses, HasProduct, Head, LinearHead
from seqstate.core.screen import Screen, Shortlist, scored
from seqstate.native.shortlist import Packed, Scalars, pack, shortlists


class Certified(Screen):
    """Exact up to the rounding of float32: where two words tie within it, either may be the k-th."""

    exact = True

    def __init__(self, *, head: Head | nn.Linear) -> None:
        super().__init__(head=head)
        with torch.no_grad():
            self.packed = _packed(self.head)

    @torch.no_grad()
    def shortlist(self, hidden: Float[Tensor, "R D"], k: int = 1) -> Shortlist:
        rows = hidden
        if isinstance(self.head, EnergyHead) and isinstance(self.head.energy, HasProduct):
            rows = self.head.energy.query_side(hidden)
        kept = shortlists(self.packed, rows, k)
        words, logits = scored(self.head, hidden, kept)
        counts = torch.tensor([len(row) for row in kept], device=hidden.device)
        return Shortlist(words, logits, torch.ones_like(counts, dtype=torch.bool), counts)


def _packed(head: Head) -> Packed:
    if isinstance(head, LinearHead):
        return pack(head.weight, head.bias)
    energy = head.energy if isinstance(head, EnergyHead) else head
    if isinstance(head, EnergyHead) and isinstance(energy, HasProduct):
        words, own = energy.key_side(head.weight)
        return pack(words, _sum(head.bias, own))
    if isinstance(head, EnergyHead) and isinstance(energy, HasMisses):
        scalars = Scalars(
            energy.activation, *(one.detach().float().cpu() for one in energy.scalars())
        )
        return pack(head.weight, head.bias, scalars)
    raise ValueError(
        f"{type(energy).__name__} is no inner product or sum of misses, so no bound is known; certified "
        "screens inner, scaled_inner, cosine, l2, soft_bits and multi_hamming"
    )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other
