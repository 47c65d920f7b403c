"""The bottleneck audit: what an output layer can and cannot say, of our models and of other people's.

    from seqstate.bottleneck import audit, audit_table
    readings = audit(model, tokens)                       # one of ours, or a Hugging Face causal LM
    readings = audit(torch.nn.Linear(64, 10_000), hidden) # a bare layer and vectors it sees

Every instrument of the output layer in `instruments/` is run (or those named by `instruments`); everything
is computed in float64 on a copy of the layer. Nothing is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core import registry
from seqstate.core.energy import Head, LinearHead
from seqstate.core.instrument import HasHead, HeadInstrument, evaluating, exact
from seqstate.core.model import IGNORE, LanguageModel
from seqstate.core.record import Reading
from seqstate.core.task import Batch

ROWS = 4096  # hidden vectors given to the instruments, evenly spaced


def audit(
    model: nn.Module,
    data: Tensor | Batch,
    targets: Int[Tensor, ...] | None = None,
    *,
    instruments: Sequence[str] = (),
) -> list[Reading]:
    """Readings of a model's output layer.

    model: a LanguageModel, a Hugging Face causal LM, a Head or an nn.Linear.
    data: token ids [B, T] (or a Batch) for a model; hidden vectors [..., D] for a bare layer.
    targets: what follows each position [B, T] or [...]; default: the next token, or unknown.
    instruments: specs such as "unargmaxable(words=500)"; default: every instrument of the output layer.
    A model without hidden vectors (n-gram, PCFG) gets what can be read off its logits (their rank).
    Raises ValueError for a model, data or an instrument that cannot be audited.
    """
    chosen = _instruments(instruments)
    if isinstance(model, nn.Linear):
        model = LinearHead(model)
    if isinstance(model, Head):
        return _readings(chosen, model, *_vectors(model, data, targets))
    batch = as_batch(data, targets)
    asked = batch.targets != IGNORE
    extra: list[Reading] = []
    if isinstance(model, HasHead):
        with evaluating(model), torch.no_grad():
            head, hidden = model.head, model.hidden(batch.tokens)[0]
    elif isinstance(model, LanguageModel):
        return _without_head(chosen, model, batch, bool(instruments))
    elif _is_transformers(model):
        head, hidden, extra = _transformers_head(model, batch.tokens)
    else:
        raise ValueError(
            f"cannot audit a {type(model).__name__}; give a LanguageModel, a transformers causal LM, "
            "or an nn.Linear with the vectors it sees"
        )
    return [*_readings(chosen, head, hidden[asked], batch.targets[asked]), *extra]


def audit_table(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Plain rows for a table: name, value, stderr (or None), unit, count, note."""
    return [
        {
            "name": reading.name,
            "value": reading.value,
            "stderr": reading.stderr,
            "unit": reading.unit,
            "count": reading.count,
            "note": reading.tags.get("note", ""),
        }
        for reading in readings
    ]


def _instruments(specs: Sequence[str]) -> list[HeadInstrument]:
    if not specs:
        every = [registry.find("instruments", name) for name in registry.names("instruments")]
        return [part() for part in every if issubclass(part, HeadInstrument)]
    built = [registry.build("instruments", spec) for spec in specs]
    for spec, instrument in zip(specs, built, strict=True):
        if not isinstance(instrument, HeadInstrument):
            raise ValueError(f"{spec} does not measure output layers; leave it out of the audit")
    return built


def _without_head(
    chosen: list[HeadInstrument], model: LanguageModel, batch: Batch, named: bool
) -> list[Reading]:
    applied = [instrument for instrument in chosen if instrument.applies_to(model)]
    if named and len(applied) < len(chosen):
        raise ValueError(
            "this model has no hidden vectors: it is a distribution over words itself, of which an audit "
            "reads the rank alone (logit_rank)"
        )
    return [reading for instrument in applied for reading in instrument.measure(model, batch)]


def _readings(
    instruments: list[HeadInstrument], head: Head, hidden: Tensor, targets: Tensor | None
) -> list[Reading]:
    _enough(len(hidden))
    stride = _stride(hidden)
    hidden = hidden.detach()[::stride].double()
    targets = None if targets is None else targets[::stride]
    with exact(head) as precise:
        applied = [instrument for instrument in instruments if instrument.reads(precise)]
        return [reading for one in applied for reading in one.read(precise, hidden, targets)]


def _stride(rows: Tensor) -> int:
    return -(-len(rows) // ROWS)


def as_batch(data: Tensor | Batch, targets: Tensor | None = None) -> Batch:
    """Token ids [B, T] as what is read and what follows. Raises ValueError for other data or too little."""
    if not isinstance(data, Batch):
        if data.is_floating_point() or data.ndim != 2:
            raise ValueError(
                f"a model is measured on token ids [B, T], found {data.dtype} of shape {list(data.shape)}"
            )
        data = Batch(data[:, :-1], data[:, 1:]) if targets is None else Batch(data, targets)
    _enough(int((data.targets != IGNORE).sum()))
    return data


def _enough(positions: int) -> None:
    if positions < 2:
        raise ValueError(f"measuring needs 2 positions or more, found {positions}; give more text")


def _vectors(head: Head, data: Tensor | Batch, targets: Tensor | None) -> tuple[Tensor, Any]:
    if isinstance(data, Batch) or not data.is_floating_point() or data.shape[-1] != head.width:
        found = "a batch" if isinstance(data, Batch) else f"{data.dtype} {list(data.shape)}"
        raise ValueError(
            f"a bare layer is audited on hidden vectors [..., {head.width}], found {found}"
        )
    hidden = data.reshape(-1, head.width)
    if targets is None:
        return hidden, None
    targets = targets.reshape(-1)
    return hidden[targets != IGNORE], targets[targets != IGNORE]


def _is_transformers(model: nn.Module) -> bool:
    """Asked of the class's ancestry, so that transformers is not imported for those who have none."""
    return any(
        kind.__name__ == "PreTrainedModel" and kind.__module__.startswith("transformers.")
        for kind in type(model).__mro__
    )


def _transformers_head(
    model: Any, tokens: Int[Tensor, "B T"]
) -> tuple[Head, Float[Tensor, "B T D"], list[Reading]]:
    """The output layer, the vectors it saw, and a reading if the model bends its logits afterwards."""
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"{type(model).__name__} has no linear output layer ({type(layer).__name__} found); "
            "give a causal language model"
        )
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with evaluating(model), torch.no_grad():
            logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        hook.remove()
    head, hidden = LinearHead(layer), seen[-1]
    with torch.no_grad():
        off = (logits - head(hidden)).abs().max().item()
    if off <= 1e-3 * logits.abs().max().item():
        return head, hidden, []
    note = "the model changes its logits after the layer (scale or soft cap); the layer was audited"
    return head, hidden, [Reading("logits_changed_after_head", off, "nat", tags={"note": note})]
