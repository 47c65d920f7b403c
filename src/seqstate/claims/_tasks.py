"""A trial on a synthetic task: train on fresh batches, score on batches never seen.

Not a claim (its name starts with an underscore). Batch i of a run is `task.sample(rows, seed)` with a seed of
its own, so that equal settings give equal batches for every model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from seqstate.claims._language import config_of
from seqstate.core import registry
from seqstate.core.model import IGNORE, LanguageModel, count_parameters
from seqstate.core.record import Reading, RunConfig
from seqstate.core.task import Task
from seqstate.errors import Diverged
from seqstate.model import build_model
from seqstate.optimise import adamw, learning_rate

HELD_OUT = 1 << 30  # seeds from here on are never trained on


def train_on_task(
    model: LanguageModel,
    task: Task,
    config: RunConfig,
    tell: Callable[[float], None] | None = None,
) -> None:
    """`config.steps` steps of `config.batch_size` fresh sequences, AdamW as in `seqstate train`.

    Raises Diverged.
    """
    assert config.steps
    optimiser = adamw(model, config)
    model.train()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step / config.steps)
        batch = task.sample(config.batch_size, config.seed * 1_000_003 + step)
        nats, _ = model.nll(batch.tokens, batch.targets)
        (nats.sum() / (batch.targets != IGNORE).sum().clamp(min=1)).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)
        if not math.isfinite(norm.item()):
            raise Diverged(f"the loss is no longer a finite number at step {step}")
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if tell and step % 20 == 19:
            tell((step + 1) / config.steps)
    model.eval()


def learnt(
    settings: dict[str, Any], tell: Callable[[float], None] | None = None
) -> tuple[LanguageModel, Task, float]:
    """The state of a trial's settings under `inner`, trained on their task; and the CPU seconds it took."""
    config = config_of({**settings, "energy": "inner", "corpus": settings["task"]})
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    task = registry.build("tasks", settings["task"])
    model = build_model(config.state, config.energy, vocab_size=task.vocab_size)
    began = time.process_time()
    train_on_task(model, task, config, tell)
    return model, task, time.process_time() - began


def score_on_task(model: LanguageModel, task: Task, rows: int) -> list[Reading]:
    """Accuracy and nats over the asked positions of fresh sequences, and the number of parameters."""
    batch = task.sample(rows, HELD_OUT)
    with torch.inference_mode():
        logits, _ = model(batch.tokens)
        asked = batch.targets != IGNORE
        logits, wanted = logits[asked], batch.targets[asked]
        right = (logits.argmax(-1) == wanted).double().mean()
        nats = torch.nn.functional.cross_entropy(logits, wanted)
    return [
        Reading("accuracy", float(right), "share", len(wanted)),
        Reading("nats_asked", float(nats), "nat", len(wanted)),
        Reading("parameters", count_parameters(model), "1"),
    ]
