"""Energies that are an inner product of what each side becomes.

Not a part (its name starts with an underscore).
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from seqstate import native
from seqstate.core.energy import Energy, HasProduct


class Product(Energy, HasProduct):
    """Abstract: an energy says what its sides become."""

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C S"]
    ) -> Float[Tensor, "*E T C"]:
        right, own = self.key_side(keys)
        energy = -(self.query_side(query) @ right.transpose(-1, -2))
        return energy if own is None else energy - own.unsqueeze(-2)

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        right, own = self.key_side(keys)
        if own is not None:
            bias = own if bias is None else bias + own
        return native.cross_entropy_inner(self.query_side(query), right, bias, targets)

    def rank_bound(self) -> int | None:
        return self.width + 1
