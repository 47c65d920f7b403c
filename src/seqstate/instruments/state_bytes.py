"""Bytes a model carries for one sequence, measured on the state, and what one more token adds."""

from __future__ import annotations

import torch
from torch import nn

from seqstate.core.instrument import Instrument, evaluating
from seqstate.core.model import LanguageModel
from seqstate.core.record import Reading
from seqstate.core.state import state_bytes
from seqstate.core.task import Batch


class StateBytes(Instrument):
    """Read after a quarter, a half and the whole of the batch's length (`curve` in the tags)."""

    def missing(self, model: nn.Module) -> type | None:
        return None if isinstance(model, LanguageModel) else LanguageModel

    def measure(self, model: nn.Module, batch: Batch) -> list[Reading]:
        assert isinstance(model, LanguageModel)
        time = batch.tokens.shape[1]
        curve = []
        with evaluating(model), torch.no_grad():
            for length in sorted({max(1, time // 4), max(1, time // 2), time}):
                _, state = model.next_logits(batch.tokens[:1, :length])
                curve.append([length, state_bytes(state)])
        (first, least), (last, most) = curve[0], curve[-1]
        growth = (most - least) / max(1, last - first)
        return [
            Reading("state_bytes", most, "byte", tags={"tokens": last, "curve": curve}),
            Reading("state_bytes_per_token", growth, "byte/token"),
        ]
