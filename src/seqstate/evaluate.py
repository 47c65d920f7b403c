"""How well a model predicts a text: nats per token with a standard error, any length, state carried."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from seqstate.core.model import IGNORE, LanguageModel, device_of
from seqstate.core.record import Reading
from seqstate.instruments.convergence import convergence_of

BLOCK = 256  # tokens averaged before the standard error is taken: neighbouring tokens are not independent
CHUNK = 256  # tokens read at once


@dataclass(frozen=True)
class Evaluation:
    """nats: one number a predicted token, in text order. How they were read is part of the result.

    asked: of pairs, whether each token of the text is followed by one that was asked for (None: all are);
    text_bytes are then those of the targets. others: what else was measured.
    """

    nats: NDArray[np.float32]
    text_bytes: int
    rows: int
    warmup: int
    carry: bool
    context: int
    asked: NDArray[np.bool_] | None = None
    others: tuple[Reading, ...] = ()

    @property
    def nats_per_token(self) -> float:
        return float(self.nats.mean(dtype=np.float64))

    @property
    def stderr(self) -> float:
        """Standard error of nats per token, from means of blocks of neighbouring tokens."""
        count = len(self.nats) // BLOCK
        if count < 2:
            return float(self.nats.std(dtype=np.float64, ddof=1) / math.sqrt(len(self.nats)))
        blocks = self.nats[: count * BLOCK].reshape(count, BLOCK).mean(1, dtype=np.float64)
        return float(blocks.std(ddof=1) / math.sqrt(count))

    @property
    def bits_per_byte(self) -> float:
        return float(self.nats.sum(dtype=np.float64) / math.log(2) / self.text_bytes)

    @property
    def how(self) -> str:
        """One sentence: what each token was predicted from."""
        if self.asked is not None:
            return (
                "each token of a target, its end included, from its source and the target before it"
            )
        if not self.carry:
            return f"windows of {self.context} tokens, each token scored with at least half of one"
        if self.rows == 1:
            return "state carried from the first token to the last"
        return (
            f"state carried along {self.rows} stretches read in parallel, "
            f"each after {self.warmup} unscored tokens"
        )

    def stretch(self, start: int, count: int) -> NDArray[np.float32]:
        """Nats of what follows `count` tokens of the text from the one at `start`; 0 if not asked for."""
        if self.asked is None:
            return self.nats[start : start + count]
        asked = self.asked[start : start + count]
        found, before = np.zeros(len(asked), np.float32), int(self.asked[:start].sum())
        found[asked] = self.nats[before : before + int(asked.sum())]
        return found

    def readings(self) -> list[Reading]:
        count, share = len(self.nats), self.bits_per_byte / self.nats_per_token
        bits = self.nats_per_token / math.log(2)
        return [
            Reading("nats_per_token", self.nats_per_token, "nat/token", count, self.stderr),
            Reading("bits_per_token", bits, "bit/token", count, self.stderr / math.log(2)),
            Reading("bits_per_byte", self.bits_per_byte, "bit/byte", count, self.stderr * share),
            Reading(
                "perplexity",
                math.exp(min(self.nats_per_token, 700.0)),
                "1",
                count,
                math.exp(min(self.nats_per_token, 700.0)) * self.stderr,
            ),
            *self.others,
        ]


def evaluate(
    model: LanguageModel,
    ids: NDArray,
    text_bytes: int,
    *,
    context: int = 128,
    carry: bool = True,
    rows: int | None = None,
    progress=None,
) -> Evaluation:
    """Score every token of `ids` but the first (which opens the text) given all before it.

    carry: the state goes on through the whole text. To use the machine well, long texts are read as `rows`
        stretches in parallel (None: one per 16,384 tokens, at most 16), each warmed up on the `warmup`
        tokens before it, which are not scored.
    carry=False: for models trained on isolated windows: windows of `context` tokens overlapping by half,
        only the second half scored (all of the first window).
    progress: called with the share done, in [0, 1].

    Raises ValueError if there is no token to predict.
    """
    if len(ids) < 2:
        raise ValueError("nothing to evaluate: the text has no token to predict")
    ids = np.asarray(ids)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            others = {"others": tuple(convergence_of(model, ids))}
            if not carry:
                nats = _windows(model, ids, context, progress)
                return Evaluation(nats, text_bytes, 1, 0, False, context, **others)
            rows = rows or int(np.clip(len(ids) // 16_384, 1, 16))
            warmup = 0 if rows == 1 else max(512, 2 * context)
            nats = _stretches(model, ids, rows, warmup, progress)
            return Evaluation(nats, text_bytes, rows, warmup, True, context, **others)
    finally:
        model.train(was_training)


def _stretches(model, ids: NDArray, rows: int, warmup: int, progress) -> NDArray[np.float32]:
    """Row r scores the tokens `first[r] ... first[r + 1] - 1`, having read those before them."""
    device, count = device_of(model), len(ids) - 1
    first = 1 + np.arange(rows) * count // rows
    end = np.append(first[1:], len(ids))
    lengths = np.minimum(first, max(1, warmup))  # row 0 has read the opening token only
    before = (first - lengths)[:, None] + np.arange(lengths.max())
    read = torch.from_numpy(ids[np.minimum(before, count)].astype(np.int64)).to(device)
    unequal = torch.from_numpy(lengths).to(device) if len(set(lengths)) > 1 else None
    logits, state = model.next_logits(read, None, unequal)
    opening = torch.from_numpy(ids[first].astype(np.int64)).to(device)
    parts = [F.cross_entropy(logits.float(), opening, reduction="none")[:, None].cpu()]

    places = first[:, None] + np.arange((end - first).max())
    steps = torch.from_numpy(ids[np.minimum(places, count)].astype(np.int64))
    scored = places < end[:, None]
    targets = steps[:, 1:].clone()
    targets[~torch.from_numpy(scored[:, 1:])] = IGNORE
    for start in range(0, targets.shape[1], CHUNK):
        wanted = targets[:, start : start + CHUNK].to(device)
        tokens = steps[:, start : start + wanted.shape[1]].to(device)
        nats, state = model.nll(tokens, wanted, state)
        parts.append(nats.float().cpu())
        if progress is not None:
            progress(min(1.0, (start + CHUNK) / targets.shape[1]))
    return torch.cat(parts, 1).numpy()[scored]


def _windows(model, ids: NDArray, context: int, progress) -> NDArray[np.float32]:
    half, size = max(1, context // 2), len(ids) - 1
    starts = np.arange(0, max(1, size - half), half)
    device, found = device_of(model), np.empty(size, np.float32)
    for group in np.array_split(starts, -(-len(starts) // 32)):
        places = group[:, None] + np.arange(context + 1)
        read = torch.from_numpy(ids[np.clip(places, 0, size)].astype(np.int64)).to(device)
        nats, _ = model.nll(read[:, :-1], read[:, 1:])
        values = nats.float().cpu().numpy()
        for start, row in zip(group, values, strict=True):
            skip = 0 if start == 0 else half
            end = min(context, size - start)
            found[start + skip : start + end] = row[skip:end]
        if progress is not None:
            progress(min(1.0, (group[-1] + context) / size))
    return found
