"""Targets from sources: how well a model predicts them, and how often it writes exactly the right one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seqstate.core.instrument import evaluating
from seqstate.core.model import IGNORE, LanguageModel, device_of
from seqstate.core.record import Reading
from seqstate.evaluate import Evaluation
from seqstate.generate import Sampling, generate
from seqstate.text.pair_batches import Pairs

BATCH = 8192  # tokens read at once
TOGETHER = 256  # targets written at once
VALIDATED = 512  # pairs a validation in training reads, at most
WRITTEN = 2000  # pairs whose targets are written to be compared, at most
LIKELIEST = Sampling(temperature=0.0)


def evaluate_pairs(
    model: LanguageModel,
    pairs: Pairs,
    text_bytes: int,
    *,
    written: int = WRITTEN,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Score every token of every target, its end included, and write the targets of `written` pairs.

    text_bytes: of all targets. Adds the reading `exact_match`.
    """
    asked = np.zeros(len(pairs.ids), np.bool_)
    nats = np.zeros(len(pairs.ids), np.float32)
    batches = pairs.batches(np.arange(len(pairs)), BATCH)
    for number, (chosen, values, targets) in enumerate(_scored(model, pairs, batches), start=1):
        row, step = np.nonzero(targets != IGNORE)
        place = pairs.start[chosen[row]] + step
        asked[place], nats[place] = True, values[row, step]
        if progress is not None:
            progress(number / len(batches))
    others = (exact_match(model, pairs, written),) if written else ()
    return Evaluation(nats[asked], text_bytes, 1, 0, False, 0, asked, others)


def validate_pairs(model: LanguageModel, pairs: Pairs, *, share: tuple[int, int] = (0, 1)) -> float:
    """Nats per token of the targets of a fixed sample of pairs.

    share: (r, n) reads the pairs r, r + n, ... only, and returns what these add to the whole.
    """
    chosen = pairs.spread(VALIDATED)
    total, count = 0.0, int((pairs.end - pairs.turn)[chosen].sum())
    mine = chosen[share[0] :: share[1]]
    for _, values, _ in _scored(model, pairs, pairs.batches(mine, BATCH) if len(mine) else ()):
        total += float(values.sum(dtype=np.float64))
    return total / count


def _scored(
    model: LanguageModel, pairs: Pairs, batches: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]]:
    """Of each batch the pairs in it, the nats of what was asked, and what was asked."""
    device = device_of(model)
    with evaluating(model), torch.inference_mode():
        for chosen in batches:
            tokens, targets = pairs.rows(chosen, unasked=IGNORE)
            read, wanted = (torch.from_numpy(part).to(device) for part in (tokens, targets))
            yield chosen, model.nll(read, wanted)[0].float().cpu().numpy(), targets


def exact_match(model: LanguageModel, pairs: Pairs, most: int) -> Reading:
    """The share of targets written exactly, the likeliest token taken each time, of evenly spread pairs."""
    chosen = pairs.spread(most)
    right = 0
    order = chosen[np.argsort((pairs.turn - pairs.start)[chosen], kind="stable")]
    for start in range(0, len(order), TOGETHER):
        some = order[start : start + TOGETHER].tolist()
        targets = [pairs.target(index) for index in some]
        longest = max(map(len, targets)) + 1  # what is longer is wrong already
        written = write(model, [pairs.source(index) for index in some], longest, pairs.boundary)
        right += sum(one == target for one, target in zip(written, targets, strict=True))
    share = right / len(chosen)
    return Reading(
        "exact_match", share, "1", len(chosen), math.sqrt(share * (1 - share) / len(chosen))
    )


def write(
    model: LanguageModel,
    sources: Sequence[Sequence[int]],
    tokens: int,
    boundary: int,
    *,
    sampling: Sampling = LIKELIEST,
    seed: int = 0,
) -> list[list[int]]:
    """What the model writes after each of these prompts, up to the boundary; at most `tokens` tokens."""
    rows: list[list[int]] = [[] for _ in sources]
    ended = np.zeros(len(rows), np.bool_)
    for drawn in generate(model, sources, tokens=tokens, sampling=sampling, seed=seed):
        found = drawn.numpy()
        ended |= found == boundary
        for row in np.flatnonzero(~ended):
            rows[row].append(int(found[row]))
        if ended.all():
            break
    return rows
