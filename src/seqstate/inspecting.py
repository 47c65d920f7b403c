"""Inspection: every instrument that applies to a model, read on a text; and why the others do not apply.

    from seqstate.inspecting import inspect
    found = inspect(trained.model, tokens)      # token ids [B, T]
    found.readings["gates"], found.refused["graph"]

The audit (seqstate.bottleneck) is the part of this that looks at the output layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from seqstate.bottleneck import as_batch
from seqstate.core import registry
from seqstate.core.instrument import Instrument
from seqstate.core.model import LanguageModel
from seqstate.core.record import Reading
from seqstate.core.task import Batch


@dataclass
class Inspection:
    """readings, refused: by the spec of the instrument; a reason why nothing was read for each refused."""

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def inspect(
    model: nn.Module,
    data: Tensor | Batch,
    *,
    instruments: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Inspection:
    """The readings of a language model (ours, or one by seqstate.from_hf) on token ids [B, T] or a Batch.

    instruments: specs such as "gates(open=0.95)"; default: all, and those that do not apply are refused.
    progress: called with the name of the instrument that is read next.
    Raises ValueError for an unknown instrument, one that was named and does not apply, and too little text.
    """
    if not isinstance(model, LanguageModel):
        raise ValueError(
            f"cannot inspect a {type(model).__name__}; give a LanguageModel, such as the model of "
            "seqstate.load or of seqstate.from_hf"
        )
    batch, found = as_batch(data), Inspection()
    chosen = {spec: registry.build("instruments", spec) for spec in instruments or _all()}
    if instruments:
        for spec, instrument in chosen.items():
            if reason := why_not(instrument, model):
                raise ValueError(f"{spec} does not apply to this model: it {reason}")
    for spec, instrument in chosen.items():
        if reason := why_not(instrument, model):
            found.refused[spec] = reason
            continue
        if progress is not None:
            progress(spec)
        try:
            readings = instrument.measure(model, batch)
        except ValueError as error:
            if instruments:
                raise
            found.refused[spec] = str(error)
            continue
        if readings:
            found.readings[spec] = readings
        else:
            found.refused[spec] = "found nothing to read"
    return found


def why_not(instrument: Instrument, model: nn.Module) -> str:
    """What the instrument needs that the model has not, in the words of that capability; "" if it applies."""
    missing = instrument.missing(model)
    if missing is None:
        return ""
    about = " ".join((missing.__doc__ or missing.__name__).split("\n\n")[0].split())
    return f"needs this: {about.removeprefix('Capability: ').removesuffix('.')}"


def _all() -> list[str]:
    return registry.names("instruments")
