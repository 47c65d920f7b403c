"""Lengths of queries and keys: the essay's length control, to be followed over a training.

A model that can lengthen its queries and keys sharpens its choices by doing so; norms grow without bound
towards hard attention (Merrill et al. 2021), and query-key normalisation stops them (Henry et al. 2020).
Per layer and head in the tags (`by_head`, N x H). The spread is the standard deviation of the lengths
inside a sequence over their mean: keys that win by their length alone.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.instrument import StateInstrument
from seqstate.core.model import HasLengths
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading


class QKLengths(StateInstrument):
    """Euclidean lengths, no options."""

    capability = HasLengths

    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        assert isinstance(states, HasLengths)
        readings = []
        for which, lengths in states.lengths_of(x).items():
            norms = lengths.double()  # N B H T
            spread = norms.std(-1, correction=0) / norms.mean(-1).clamp(min=1e-300)
            by_head = norms.mean((1, 3)).tolist()
            readings += [
                mean_reading(f"{which}_length", norms.mean((0, 2, 3)), "length", by_head=by_head),
                mean_reading(f"{which}_length_spread", spread.mean((0, 2)), "share of mean"),
            ]
        return readings
