"""What a training step reads and what a validation measures: a text, pairs, or masked words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqstate.core.model import IGNORE, Counted, LanguageModel, device_of
from seqstate.core.record import RunConfig
from seqstate.masking import MaskedLM, MaskedWindows, validate_masked
from seqstate.text.batches import Lanes, Reader, Windows
from seqstate.text.pair_batches import PairBatches, Pairs
from seqstate.translate import validate_pairs

VALIDATION_ROWS, VALIDATION_TOKENS = 8, 16_384  # what a validation reads while training
# held-out nats per token of a model; share=(r, n): what rank r of n adds to them
Check = Callable[..., float]


class Material(NamedTuple):
    """carries: whether a state may go on from one batch to the next."""

    reader: Reader
    check: Check
    carries: bool


def material_of(
    model: LanguageModel | MaskedLM,
    train: NDArray,
    valid: NDArray,
    config: RunConfig,
    boundary: int,
    separator: int | None,
) -> Material:
    """As train.fit is given it. Raises ValueError for a text that should be pairs and is not."""
    rows, seed = config.batch_size * config.accumulate, config.seed
    if isinstance(model, MaskedLM):
        shape = {"rows": rows, "context": config.context, "vocab_size": model.vocab_size}
        check = partial(validate_masked, ids=valid, context=config.context)
        return Material(MaskedWindows(train, **shape, seed=seed), check, False)
    if separator is not None:
        shape = {"tokens": config.tokens_per_step, "parts": config.accumulate}
        pairs = Pairs.find(train, boundary, separator)
        reader = PairBatches(pairs, **shape, seed=seed, unasked=IGNORE)
        held_out = Pairs.find(valid, boundary, separator)
        return Material(reader, partial(validate_pairs, pairs=held_out), False)
    kind = Lanes if config.carry else Windows
    reader = kind(train, rows=rows, context=config.context, seed=seed)
    if isinstance(model, Counted):
        return Material(reader, partial(validate, ids=valid), True)
    check = partial(validate, ids=valid, carry=config.carry, context=config.context)
    return Material(reader, check, config.carry)


def validate(
    model: LanguageModel,
    ids: NDArray,
    *,
    carry: bool = True,
    context: int = 256,
    share: tuple[int, int] = (0, 1),
) -> float:
    """Nats per token on a fixed sample: up to 8 evenly spread stretches, 16,384 tokens in all.

    The state is carried along each stretch (carry=False: dropped every `context` tokens).
    share: (r, n) reads the stretches r, r + n, ... only, and returns what these add to the whole.
    """
    length = min(VALIDATION_TOKENS, len(ids) - 1) // VALIDATION_ROWS
    rows = VALIDATION_ROWS if length >= 64 else 1
    length = length if rows > 1 else min(VALIDATION_TOKENS, len(ids) - 1)
    starts = np.arange(rows) * (len(ids) - 1 - length) // max(1, rows - 1)
    read = torch.from_numpy(
        np.asarray(ids)[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    )
    read = read[share[0] :: share[1]].to(device_of(model))
    total, state, was_training = 0.0, None, model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, length if len(read) else 0, context):
            piece = read[:, start : start + context + 1]
            nats, state = model.nll(piece[:, :-1], piece[:, 1:], state if carry else None)
            total += nats.double().sum().item()
    model.train(was_training)
    return total / (rows * length)
