"""The relation graph: how many predecessors a position picks, how far back, and how decidedly.

Rows t >= 1 only: the first position has no choice. Per layer and head in the tags (`by_head`, N x H).

    graph_entropy     of the edge weights of a row, in nats (0: one edge)
    graph_spread      that entropy as a share of the largest possible, ln(t + 1)
    graph_distance    expected distance to the predecessor, in tokens
    graph_sharpness   weight of the strongest edge
    graph_hard        share of rows whose strongest edge weighs more than 0.9
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.instrument import StateInstrument
from seqstate.core.model import HasGraph
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading

HARD = 0.9


class Graph(StateInstrument):
    """Needs at least two tokens a sequence."""

    capability = HasGraph

    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        assert isinstance(states, HasGraph)
        if x.shape[1] < 2:
            raise ValueError("a graph needs sequences of at least 2 tokens, found 1")
        return measures(states.graph(x).double())


def measures(edges: Float[Tensor, "N B H T T"]) -> list[Reading]:
    """The readings of edge weights; row t sums to 1 over predecessors s <= t."""
    time = torch.arange(edges.shape[-1], device=edges.device)
    back = (time.unsqueeze(1) - time).clamp(min=0)
    entropy = torch.special.entr(edges).sum(-1)
    strongest = edges.amax(-1)
    found = {
        "graph_entropy": (entropy, "nat"),
        "graph_spread": (entropy / (time + 1).double().log().clamp(min=1e-300), "share"),
        "graph_distance": ((edges * back).sum(-1), "token"),
        "graph_sharpness": (strongest, "share of weight"),
        "graph_hard": ((strongest > HARD).double(), "share of rows"),
    }
    return [
        mean_reading(
            name,
            rows[..., 1:].mean((0, 2, 3)),
            unit,
            by_head=rows[..., 1:].mean((1, 3)).tolist(),
        )
        for name, (rows, unit) in found.items()
    ]
