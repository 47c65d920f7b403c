"""Tiny trainings that one process and several do alike."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seqstate.core.record import RunConfig
from seqstate.masking import build_masked
from seqstate.model import build_model
from seqstate.ranks import Ranks
from seqstate.train import Outcome, fit

VOCAB, END, TAB = 300, 0, 1  # enough words for the native kernel


class Task(NamedTuple):
    """changes: of the configuration."""

    state: str
    energy: str | None
    changes: dict | None = None
    kind: str = "text"


TASKS = {
    "tied, in two parts": Task("lstm(width=16)", "multi_hamming(groups=4)", {"accumulate": 2}),
    "with dropout": Task("lstm(width=16)", "inner", {"dropout": 0.2}),
    "a number that cannot be cut": Task("rnn(width=16)", "cosine"),
    "a start that is learnt": Task("hmm(states=6)", None),
    "a start that is used late": Task("relay(width=16, heads=2, chunk=8)", "inner"),
    "bits that harden": Task("gru(width=16)", "soft_bits(anneal=4)"),
    "masked words": Task("attention(width=16, layers=2, heads=2)", "inner", kind="masked"),
    "pairs": Task("seq2seq(width=16)", "inner", kind="pairs"),
    "open sentences": Task("pcfg(nonterminals=2, preterminals=3)", None),
}

RESUMED = ("tied, in two parts", "a number that cannot be cut", "open sentences")


def text(size: int, seed: int) -> np.ndarray:
    """Each token is its predecessor plus one, now and then plus two; documents of many lengths."""
    draw = np.random.default_rng(seed)
    ids = 2 + np.cumsum(1 + (draw.random(size) < 0.2)) % (VOCAB - 2)
    ids[draw.random(size) < 0.1] = END
    ids[0] = END
    return ids.astype(np.uint16)


def pairs(count: int, seed: int) -> np.ndarray:
    """Words and their reversals, of unequal lengths."""
    draw, ids = np.random.default_rng(seed), []
    for _ in range(count):
        word = draw.integers(2, 9, size=draw.integers(1, 6))
        ids += [END, *word, TAB, *word[::-1]]
    return np.array(ids, np.uint16)


def config(task: Task) -> RunConfig:
    settled = dict(steps=9, batch_size=4, context=8, eval_every=3, lr=1e-2) | (task.changes or {})
    return RunConfig(state=task.state, energy=task.energy, corpus="test", **settled)


def train(name: str, ranks: Ranks, **options) -> tuple[Outcome, torch.nn.Module]:
    """Train one of TASKS; options of fit."""
    task = TASKS[name]
    settled = config(task)
    torch.manual_seed(0)
    shape = {"vocab_size": VOCAB, "dropout": settled.dropout}
    if task.kind == "masked":
        model = build_masked(task.state, task.energy, **shape)
    else:
        separator = TAB if task.kind == "pairs" else None
        shape |= {"boundary": END, "separator": separator, "ends": (END,)}
        model = build_model(task.state, task.energy, **shape)
        options |= {"boundary": END, "separator": separator}
    ids = [make(size, seed) for make, size, seed in sides(task)]
    return fit(model, *ids, settled, ranks=ranks, **options), model


def sides(task: Task):
    make, sizes = (pairs, (41, 13)) if task.kind == "pairs" else (text, (400, 200))
    return [(make, size, seed) for seed, size in enumerate(sizes)]


def curve(outcome: Outcome) -> list[float]:
    """The losses of a run, training and held-out, in order."""
    return [point[key] for point in outcome.curve for key in ("train_nats", "valid_nats")]


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def killed(name: str, ranks: Ranks, folder: Path, step: int = 5) -> None:
    """Train with a checkpoint after every step, until this one."""

    def watch(progress) -> None:
        if progress.step == step:
            raise Killed

    try:
        train(name, ranks, folder=folder, watch=watch, checkpoint_seconds=0.0)
    except Killed:
        return
    raise AssertionError("the run was to be killed")
