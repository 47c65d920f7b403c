"""A trial on text: train one `state + energy`, then read the whole held-out text and parts of it.

Not a claim (its name starts with an underscore). The settings of such a trial are those of a RunConfig that
differ from its defaults, so that the run is the one `seqstate train` would make.

    nats_per_token, perplexity   of the whole held-out text
    nats_tail                    of the rarest tenth of its tokens, by training count (`<unk>` left out)
    nats_modes                   after words with several modes: seen 50 times or more, the second commonest
                                 continuation at least half as common as the first, and each below a half
    parameters, steps, train_tokens, cpu_seconds (of training alone)
and what the instruments asked for say on 512 held-out tokens.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqstate.core import registry
from seqstate.core.model import LanguageModel, count_parameters
from seqstate.core.record import Reading, RunConfig
from seqstate.core.task import Batch
from seqstate.run import start
from seqstate.text.store import Corpus
from seqstate.train import Outcome, fit
from seqstate.trained import Trained

TAIL = 0.1  # share of held-out tokens that are called rare
SEEN, SECOND = 50, 0.5  # of a word with several modes: its count; second continuation over first


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What of a configuration differs from the defaults, plus its seed."""
    bare = {one.name: one.default for one in dataclasses.fields(RunConfig)}
    given = config.to_json()
    return {n: value for n, value in given.items() if n == "seed" or bare[n] != value}


def config_of(settings: dict[str, Any]) -> RunConfig:
    """The configuration of a trial; settings that a RunConfig does not know (the stage) are left out."""
    known = {one.name for one in dataclasses.fields(RunConfig)}
    return RunConfig(**{name: value for name, value in settings.items() if name in known})


def read_text(
    settings: dict[str, Any],
    corpus: Corpus,
    folder: Path | None,
    tell: Callable[[float], None] | None = None,
    instruments: Sequence[str] = (),
) -> list[Reading]:
    """Train and evaluate. Raises errors.Diverged and errors.Interrupted (then `folder` has a checkpoint)."""
    config = config_of(settings)
    trained = begun(config, corpus)
    outcome = taught(trained, config, corpus, folder, tell)
    found = trained.evaluate_ids(corpus.valid, corpus.valid_bytes)
    whole = [one for one in found.readings() if one.name in ("nats_per_token", "perplexity")]
    words, before = np.asarray(corpus.valid[1:]), np.asarray(corpus.valid[:-1])
    tail, modes = parts(corpus)
    return [
        *whole,
        part_reading("nats_tail", found.nats[tail[words]]),
        part_reading("nats_modes", found.nats[modes[before]]),
        Reading("parameters", count_parameters(trained.model), "1"),
        Reading("steps", outcome.step, "1"),
        Reading("train_tokens", outcome.step * config.tokens_per_step, "token"),
        Reading("cpu_seconds", outcome.cpu_seconds, "s"),
        *look(trained.model, corpus, instruments),
    ]


def begun(config: RunConfig, corpus: Corpus) -> Trained:
    """A model of this configuration that has learnt nothing yet, on the threads it asks for."""
    torch.set_num_threads(config.threads)
    return start(config, corpus)


def taught(
    trained: Trained,
    config: RunConfig,
    corpus: Corpus,
    folder: Path | None,
    tell: Callable[[float], None] | None = None,
) -> Outcome:
    """Train it on the corpus, going on from a checkpoint in `folder`. tell: called with the share done."""
    return fit(
        trained.model,
        corpus.train,
        corpus.valid,
        config,
        folder=folder,
        resume=folder is not None,
        boundary=corpus.tokenizer.boundary,
        watch=None if tell is None else lambda progress: tell(progress.share),
    )


def look(model: LanguageModel, corpus: Corpus, instruments: Sequence[str]) -> list[Reading]:
    """Readings of the instruments that apply to the model, without their tags."""
    count = min(8, len(corpus.valid) // 65)
    held = np.asarray(corpus.valid[: count * 65]).astype(np.int64)
    rows = torch.from_numpy(held).view(count, 65)
    batch, readings = Batch(rows[:, :-1], rows[:, 1:]), []
    for name in instruments:
        instrument = registry.build("instruments", name)
        if instrument.applies_to(model):
            readings += instrument.measure(model, batch)
    return [dataclasses.replace(reading, tags={}) for reading in readings]


def time_ratio(ours: RunConfig, theirs: RunConfig, corpus: Corpus, rounds: int) -> Reading:
    """Processor time of a training step of `ours` over one of `theirs`: median of paired rounds."""
    torch.set_num_threads(1)
    models = [start(config, corpus).model for config in (ours, theirs)]
    ratios = []
    for turn in range(rounds + 1):
        spent = []
        for model, config in zip(models, (ours, theirs), strict=True):
            brief = config.replace(steps=10, eval_every=0, seed=turn)
            outcome = fit(model, corpus.train, corpus.valid[:65], brief)
            spent.append(outcome.cpu_seconds)
        ratios.append(spent[0] / spent[1])
    del ratios[0]  # the first round warms up
    spread = float(np.subtract(*np.percentile(ratios, [75, 25])))
    tags = {"interquartile_range": round(spread, 4)}
    return Reading("time_ratio", float(np.median(ratios)), "1", rounds, tags=tags)


def part_reading(name: str, nats: NDArray) -> Reading:
    """Mean nats of some tokens; their standard error takes them as independent."""
    if not len(nats):
        return Reading(name, 0.0, "nat/token", 0)
    stderr = float(nats.std(ddof=1)) / math.sqrt(len(nats)) if len(nats) > 1 else None
    return Reading(name, float(nats.mean(dtype=np.float64)), "nat/token", len(nats), stderr)


@functools.lru_cache(maxsize=8)
def parts(corpus: Corpus) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which words are rare, and which have several modes after them, as masks over the vocabulary."""
    size = corpus.tokenizer.vocab_size
    train, held = np.asarray(corpus.train), np.asarray(corpus.valid[1:])
    return rare(train, held, size, corpus.tokenizer.unknown), several_modes(train, size)


def rare(train: NDArray, held: NDArray, size: int, unknown: int | None) -> NDArray[np.bool_]:
    """The words least seen in training, as many as make up at most TAIL of the held-out tokens."""
    seen = np.bincount(train, minlength=size)
    asked = np.bincount(held, minlength=size)
    if unknown is not None:
        asked[unknown], seen[unknown] = 0, seen.max() + 1
    by_count = np.bincount(seen, weights=asked)  # held-out tokens whose word was seen so often
    limit = int(np.searchsorted(np.cumsum(by_count), TAIL * len(held), side="right"))
    return seen < limit


def several_modes(train: NDArray, size: int) -> NDArray[np.bool_]:
    """Words whose continuations in training have two commonest ones near each other and none above a half."""
    pairs, counts = np.unique(
        train[:-1].astype(np.int64) * size + train[1:].astype(np.int64), return_counts=True
    )
    word, order = pairs // size, np.lexsort((-counts, pairs // size))
    word, counts = word[order], counts[order]
    first = np.flatnonzero(np.diff(word, prepend=-1))
    first = first[np.diff(first, append=len(word)) > 1]  # words with two continuations or more
    total = np.bincount(word, weights=counts, minlength=size)[word[first]]
    top, second = counts[first], counts[first + 1]
    chosen = (total >= SEEN) & (second >= SECOND * top) & (top <= total / 2)
    mask = np.zeros(size, bool)
    mask[word[first[chosen]]] = True
    return mask
