"""execute: a RunConfig and a corpus in, a trained folder and its record (Run) out."""

from __future__ import annotations

import datetime
import os
import platform
import random
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqstate import __version__, checkpoint, treebank
from seqstate.core.model import Counted, LanguageModel, count_parameters
from seqstate.core.record import Reading, Run, RunConfig
from seqstate.core.state import state_bytes
from seqstate.evaluate import Evaluation
from seqstate.generate import generate
from seqstate.instruments.bits import bits_of
from seqstate.model import NeuralLM
from seqstate.ranks import Alone, Ranks
from seqstate.text.overlap import sketch
from seqstate.train import Outcome, Progress, fit
from seqstate.trained import ModelConfig, Trained

if TYPE_CHECKING:
    from seqstate.text.store import Corpus

SAMPLE_TOKENS = 256
PASSAGE_TOKENS = 320


def execute(
    config: RunConfig,
    corpus: Corpus,
    folder: Path,
    *,
    resume: bool = True,
    watch: Callable[[Progress], None] | None = None,
    command: str | None = None,
    checkpoint_seconds: float = 20.0,
    starvation: dict[int, float] | None = None,
    ranks: Ranks | None = None,
) -> Run | None:
    """Train, evaluate, sample; leave model, metrics.jsonl and run.json in `folder` and return the record.

    The same configuration and corpus give the same weights on the same machine and thread count. With
    `resume`, an unfinished run in `folder` goes on. ranks: the processes that call this together; all but the
    first train only, and return None. Raises ValueError for settings that do not fit, train.Interrupted and
    train.Diverged.
    """
    ranks = ranks or Alone()
    torch.set_num_threads(config.threads)
    how = {"folder": folder, "resume": resume, "checkpoint_seconds": checkpoint_seconds}
    trained, outcome = teach(config, corpus, watch=watch, ranks=ranks, **how)
    if not ranks.first:
        return None
    trained.save(folder)
    result = trained.evaluate_ids(corpus.valid, corpus.valid_bytes)
    sample, rate = _sample(trained)
    run = Run(
        config=config,
        readings=[
            *result.readings(),
            *(treebank.readings(trained, corpus.trees("valid")) if corpus.treebank else []),
            *_costs(trained.model, config, outcome, rate),
            *bits_of(trained.model, corpus.valid),
        ],
        curve=outcome.curve,
        sample=sample,
        surprise=_surprise(trained, corpus, result),
        corpus=describe(corpus, starvation or {}),
        versions=versions(),
        machine=machine() | ranks.described(),
        command=command or shlex.join(["seqstate", *sys.argv[1:]]),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        stopped=outcome.stopped,
    )
    run.save(folder)
    checkpoint.remove(folder)
    return run


def teach(config: RunConfig, corpus: Corpus, **how: Any) -> tuple[Trained, Outcome]:
    """The trained model of a configuration: trees are counted where there are some and the state takes them,
    all else is fitted (how: as in train.fit).
    """
    if treebank.counts_trees(config, corpus):
        trained, outcome = treebank.count(config, corpus)
    else:
        trained = start(config, corpus)
        marks = {"boundary": corpus.tokenizer.boundary, "separator": corpus.separator}
        outcome = fit(trained.model, corpus.train, corpus.valid, config, **marks, **how)
    trained.sketch = sketch(corpus.train)
    return trained, outcome


def start(config: RunConfig, corpus: Corpus) -> Trained:
    """The untrained model of a configuration, seeded, its output biases at the log-unigrams."""
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    separator, trees = corpus.separator, corpus.treebank
    described = ModelConfig.of(config, corpus.tokenizer, separator, treebank=trees)
    model = described.build()
    if isinstance(model, NeuralLM):
        model.head.start_from(torch.from_numpy(log_unigram(corpus.train, model.vocab_size)))
    if torch.cuda.is_available():
        model = model.cuda()
    return Trained(model, corpus.tokenizer, described)


def log_unigram(ids: Any, vocab_size: int) -> np.ndarray:
    """Log-probabilities of the tokens by their counts plus one, float32 [V]."""
    counts = np.ones(vocab_size)
    for start_at in range(0, len(ids), 1 << 24):
        counts += np.bincount(ids[start_at : start_at + (1 << 24)], minlength=vocab_size)
    return np.log(counts / counts.sum()).astype(np.float32)


def _costs(
    model: LanguageModel, config: RunConfig, outcome: Outcome, generated: float
) -> list[Reading]:
    counted = isinstance(model, Counted)
    tokens = outcome.curve[-1]["tokens"]
    size = sum(b.numel() for b in model.buffers()) if counted else count_parameters(model)
    seconds = max(outcome.wall_seconds, 1e-9)
    return [
        Reading("parameters", size, "1", tags={"counted": counted}),
        Reading("state_bytes", _state_bytes(model, config), "B"),
        Reading("train_tokens", tokens, "token"),
        Reading("train_tokens_per_second", tokens / seconds, "token/s", max(1, outcome.step)),
        Reading("generate_tokens_per_second", generated, "token/s", SAMPLE_TOKENS),
        Reading("cpu_seconds", outcome.cpu_seconds, "s"),
    ]


def _state_bytes(model: LanguageModel, config: RunConfig) -> int:
    """Measured on the state after two windows: a cache has grown to its full size by then."""
    tokens = torch.zeros(1, 2 * config.context, dtype=torch.int64)
    tokens = tokens.to(next((t.device for t in model.parameters()), torch.device("cpu")))
    with torch.inference_mode():
        _, state = model.next_logits(tokens)
    return state_bytes(state)


def _sample(trained: Trained) -> tuple[str, float]:
    """A sample from an empty prompt (seed 0), and generated tokens a second at batch 1."""
    boundary, ids, began = trained.tokenizer.boundary, [], time.monotonic()
    for drawn in generate(trained.model, [[boundary]], tokens=SAMPLE_TOKENS):
        ids.append(int(drawn[0]))
    seconds = time.monotonic() - began
    text = [trained.tokenizer.decode(part) for part in _split(ids, boundary)]
    return "\n".join(text).strip(), len(ids) / max(seconds, 1e-9)


def _split(ids: list[int], boundary: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == boundary:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _surprise(trained: Trained, corpus: Corpus, result: Evaluation) -> dict[str, Any]:
    """Nats of every token of one held-out passage: the same place for every run on the corpus."""
    start_at = len(corpus.valid) // 3
    ids = np.asarray(corpus.valid[start_at + 1 : start_at + 1 + PASSAGE_TOKENS]).tolist()
    nats = result.stretch(start_at, len(ids))
    return {
        "text": [trained.tokenizer.token_text(token) for token in ids],
        "nats": [round(float(value), 4) for value in nats],
        "seen_from": start_at,
    }


def describe(corpus: Corpus, starvation: dict[int, float]) -> dict[str, Any]:
    """The corpus as a record holds it."""
    return {
        "id": corpus.id,
        "name": corpus.name,
        "tokenizer": corpus.tokenizer.kind,
        "vocab_size": corpus.tokenizer.vocab_size,
        "train_tokens": len(corpus.train),
        "valid_tokens": len(corpus.valid),
        "train_bytes": corpus.train_bytes,
        "valid_bytes": corpus.valid_bytes,
        "split": corpus.split,
        "unknown": round(corpus.unknown, 6),
        "starvation": {str(order): round(share, 6) for order, share in starvation.items()},
    }


def versions() -> dict[str, str]:
    return {
        "seqstate": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def machine() -> dict[str, Any]:
    """What the timings depend on."""
    from seqstate import native

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "kernels": native.path_taken(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
