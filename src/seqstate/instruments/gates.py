"""How binary the gates are: the share of values below 0.1 (shut) and above 0.9 (open), by gate.

The essay takes an LSTM's sigmoids for bits; in a trained character LSTM about two thirds of them are
(Karpathy, Johnson & Fei-Fei 2015 drew the same histogram: "saturation plots").
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.instrument import StateInstrument
from seqstate.core.model import HasGates
from seqstate.core.record import Reading
from seqstate.instruments._mean import mean_reading

BINS = 20


class Gates(StateInstrument):
    """shut, open: the values that count as saturated. `histogram` in the tags has 20 bins over [0, 1]."""

    capability = HasGates

    def __init__(self, *, shut: float = 0.1, open: float = 0.9) -> None:
        if not 0 < shut < open < 1:
            raise ValueError(f"wanted 0 < shut < open < 1, found shut={shut}, open={open}")
        self.shut, self.open = shut, open

    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        assert isinstance(states, HasGates)
        readings, saturated = [], []
        for gate, values in states.gates(x).items():
            rows = values.flatten(1).double()
            shut, open_ = (rows < self.shut).double(), (rows > self.open).double()
            histogram = torch.histc(rows, BINS, 0.0, 1.0) / rows.numel()
            tags = {"gate": gate, "histogram": histogram.tolist()}
            readings += [
                mean_reading(f"{gate}_gate_shut", shut.mean(1), "share of gate values", **tags),
                mean_reading(f"{gate}_gate_open", open_.mean(1), "share of gate values", **tags),
            ]
            saturated.append((shut + open_).flatten(1))
        everything = torch.cat(saturated, 1).mean(1)
        return [mean_reading("gate_saturation", everything, "share of gate values"), *readings]
