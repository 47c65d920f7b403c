"""Error of a factored aggregate against exact attention over the same queries, keys and values.

|given - full| / |full|; the full aggregate is causal softmax attention of every query over all keys so far,
computed exactly in float64. By prefix length in the tags (`curve`: tokens read, error), at 1, 2, 4, 8, ...
tokens and at the end: a factoring of fixed size may do worse the longer the prefix. `mean_error` is what
giving every query the plain mean of the values would cost: an aggregate worth its name is below it.
`by_head`: N x H, at the end.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.instrument import StateInstrument
from seqstate.core.model import Aggregates, HasAggregates
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading

TINY = 1e-300


class RelayError(StateInstrument):
    """Relative L2 error, no options."""

    capability = HasAggregates

    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        assert isinstance(states, HasAggregates)
        asked = Aggregates(*(part.double() for part in states.aggregates(x)))
        time = x.shape[1]
        lengths = sorted({2**i for i in range(time.bit_length()) if 2**i <= time} | {time})
        ends = torch.tensor(lengths, device=x.device) - 1
        full = full_aggregate(asked, ends)
        error = _relative(asked.given[..., ends, :], full)  # N B H P
        means = asked.value.cumsum(-2)[..., ends, :] / (ends + 1).unsqueeze(-1)
        curve = [list(point) for point in zip(lengths, error.mean((0, 1, 2)).tolist(), strict=True)]
        last = error[..., -1]
        by_head = last.mean(1).tolist()
        return [
            mean_reading("relay_error", last.mean((0, 2)), "share", curve=curve, by_head=by_head),
            mean_reading("mean_error", _relative(means, full)[..., -1].mean((0, 2)), "share"),
        ]


def full_aggregate(asked: Aggregates, ends: Tensor) -> Float[Tensor, "N B H P K"]:
    """Softmax attention of the queries at the positions `ends` over all keys up to them."""
    scores = asked.query[..., ends, :] @ asked.key.mT
    ahead = torch.arange(scores.shape[-1], device=ends.device) > ends.unsqueeze(-1)
    return scores.masked_fill(ahead, -torch.inf).softmax(-1) @ asked.value


def _relative(
    given: Float[Tensor, "N B H P K"], full: Float[Tensor, "N B H P K"]
) -> Float[Tensor, "N B H P"]:
    return (given - full).norm(dim=-1) / full.norm(dim=-1).clamp(min=TINY)
