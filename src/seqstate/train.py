"""fit: the one training loop, for every state under every energy."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from seqstate import checkpoint
from seqstate.core.model import IGNORE, Counted, LanguageModel, device_of
from seqstate.core.record import RunConfig, write_atomic
from seqstate.core.schedule import Scheduled
from seqstate.core.state import State, detach
from seqstate.errors import Diverged, Interrupted
from seqstate.instruments.bits import bits_of
from seqstate.masking import MaskedLM
from seqstate.material import Check, Material, material_of
from seqstate.optimise import adamw, learning_rate
from seqstate.ranks import Alone, Ranks

VALIDATIONS = 20  # over a run, unless the configuration says otherwise


@dataclass
class Progress:
    """What a watcher is told after every step. Seconds are of training alone, validation left out."""

    step: int
    share: float  # of the budget, in [0, 1]
    tokens: int
    train_nats: float  # running mean per token
    valid_nats: float | None  # of the latest validation
    cpu_seconds: float
    wall_seconds: float
    learning_rate: float


@dataclass
class Outcome:
    """What fit leaves beside the trained model: its learning curve and how it ended."""

    curve: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    stopped: str = "budget"


def fit(
    model: LanguageModel | MaskedLM,
    train: NDArray,
    valid: NDArray,
    config: RunConfig,
    *,
    folder: Path | None = None,
    resume: bool = False,
    boundary: int = 0,
    separator: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 20.0,
    ranks: Ranks | None = None,
) -> Outcome:
    """Train `model` in place on token ids and leave the weights with the best validation loss in it
    (the last ones if a schedule runs: earlier ones are not as sharp as was asked).

    train, valid: 1-d id arrays (may be memory-mapped). folder: gets metrics.jsonl and checkpoints; with
    `resume`, training goes on from the checkpoint there and ends with the weights of an uninterrupted run.
    separator: the documents are pairs, parted by this token: whole pairs of like length are read, as many as
    a step's tokens allow, and the targets are what is learnt.
    A MaskedLM learns the masked words of random windows.
    A counted model (n-gram) is estimated in one pass. ranks: the processes that call this together (None:
    there is this one); see seqstate.distributed. Raises Interrupted, Diverged, and ValueError for numbers
    that make no sense.
    """
    if wrong := config.wrong():
        raise ValueError(f"{wrong[0]} {getattr(config, wrong[0])!r} {wrong[1]}")
    material = material_of(model, train, valid, config, boundary, separator)
    if isinstance(model, Counted):
        return _count(model, train, material.check, boundary)
    ranks = ranks or Alone()
    loop = _Loop(model, material, valid, config, ranks, folder, watch, checkpoint_seconds)
    return loop.run(resume)


def _count(model: Any, train: NDArray, check: Check, boundary: int) -> Outcome:
    cpu, wall = time.process_time(), time.monotonic()
    model.count(train, boundary)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    nats = check(model)
    point = {"step": 1, "tokens": len(train), "cpu_seconds": cpu, "wall_seconds": wall}
    return Outcome([{**point, "valid_nats": nats}], 1, cpu, wall)


class _Loop:
    """One run's moving parts; every number that decides the weights is in the checkpoint."""

    def __init__(
        self,
        model: LanguageModel | MaskedLM,
        material: Material,
        valid: NDArray,
        config: RunConfig,
        ranks: Ranks,
        folder: Path | None,
        watch: Callable[[Progress], None] | None,
        checkpoint_seconds: float,
    ) -> None:
        self.checkpoint_seconds = checkpoint_seconds
        self.model, self.valid, self.config, self.watch = model, valid, config, watch
        self.folder, self.reader, self.check = folder, material.reader, material.check
        self.carry = config.carry and material.carries
        self.device = device_of(model)
        self.ranks, self.nll = ranks, ranks.wrap(model)
        self.optimiser = adamw(model, config)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        parts = [part for part in model.modules() if isinstance(part, Scheduled)]
        self.scheduled = [part for part in parts if part.anneal != 1]
        self.carried: list[State | None] = [None] * config.accumulate
        self.outcome = Outcome()
        self.best: dict[str, Tensor] = {}
        self.best_nats, self.worse = math.inf, 0
        self.loss_sum = torch.zeros((), device=self.device)
        self.loss_steps = 0
        self.saved = 0.0  # seconds of training at the latest checkpoint

    @property
    def share(self) -> float:
        if self.config.seconds is not None:
            return self.outcome.wall_seconds / self.config.seconds
        return self.outcome.step / self.config.steps

    def run(self, resume: bool) -> Outcome:
        if resume and (place := self._latest()) is not None:
            self._restore(place)
        self.model.train()
        with _interruptible(self.ranks) as interrupted, self._metrics() as metrics:
            while self.share < 1 and self.outcome.stopped == "budget":
                self._step(metrics)
                if self.ranks.any(interrupted.is_set()):
                    self._save()
                    kept = (
                        f"; it is saved in {self.folder}, go on with --resume"
                        if self.folder
                        else ""
                    )
                    raise Interrupted(f"stopped after step {self.outcome.step}{kept}")
                if self._checkpoint_due():
                    self._save()
            if not self.outcome.curve or self.outcome.curve[-1]["step"] != self.outcome.step:
                self._validate(metrics)
            if self.outcome.wall_seconds > self.saved:
                self._save()  # what follows the training may be stopped too
        checkpoint.put(self.model, self.best)
        self.ranks.unwrap(self.model)
        self.model.eval()
        return self.outcome

    def _step(self, metrics: Callable[[dict], None]) -> None:
        outcome, config = self.outcome, self.config
        cpu, wall = time.process_time(), time.monotonic()
        rate = learning_rate(config, self.share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        for part in self.scheduled:
            part.schedule(min(1.0, self.share))
        loss = self._backward(outcome.step)
        norm = self.ranks.clip(self.parameters, config.clip or math.inf)
        if not math.isfinite(norm.item()):
            raise Diverged(self._divergence(rate))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        outcome.step += 1
        spent = time.process_time() - cpu, time.monotonic() - wall
        cpu, wall, loss = self.ranks.settled(*spent, loss)
        outcome.cpu_seconds += cpu
        outcome.wall_seconds += wall
        self.loss_sum += loss
        self.loss_steps += 1
        if self._validation_due():
            self._validate(metrics)
        elif self.watch is not None:
            self.watch(self._progress(rate))

    def _backward(self, step: int) -> Tensor:
        config = self.config
        tokens, targets, fresh = self.reader.batch(step)
        self.ranks.seed(config.seed, step)
        total = torch.zeros((), device=self.device)
        size = len(tokens) // config.accumulate
        for part in range(config.accumulate):
            rows = slice(part * size, (part + 1) * size)
            mine, wanted = self.ranks.mine(tokens[rows], targets[rows])
            state = None if fresh or self.carried[part] is None else detach(self.carried[part])
            with self.ranks.adding(last=part == config.accumulate - 1):
                with self._autocast():
                    nats, after = self.nll(
                        torch.from_numpy(mine).to(self.device),
                        torch.from_numpy(wanted).to(self.device),
                        state,
                    )
                # 1 but for pairs: the mean of the ranks' losses is that of all tokens asked
                share = wanted.size * self.ranks.world / (targets[rows] != IGNORE).sum()
                loss = nats.mean() * float(share) / config.accumulate
                loss.backward()
            self.carried[part] = detach(after) if self.carry else None
            total += loss.detach()
        return total

    def _autocast(self):
        precision = self.config.precision
        if precision == "auto":
            gains = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bfloat16" if gains else "float32"
        if precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _validation_due(self) -> bool:
        config = self.config
        if config.eval_every:
            return self.outcome.step % config.eval_every == 0
        if config.steps is not None:
            return self.outcome.step % max(1, config.steps // VALIDATIONS) == 0
        return self.share >= len(self.outcome.curve) / VALIDATIONS + 1 / VALIDATIONS

    def _validate(self, metrics: Callable[[dict], None]) -> None:
        outcome, config = self.outcome, self.config
        with self.ranks.whole():
            nats = self.ranks.sum(self.check(self.model, share=self.ranks.share))
            bits = bits_of(self.model, self.valid)
        rate = self.optimiser.param_groups[0]["lr"]
        if not math.isfinite(nats):
            raise Diverged(self._divergence(rate))
        point = {
            "step": outcome.step,
            "tokens": outcome.step * config.tokens_per_step,
            "cpu_seconds": outcome.cpu_seconds,
            "wall_seconds": outcome.wall_seconds,
            "train_nats": self._train_nats(),
            "valid_nats": nats,
            "learning_rate": rate,
            **{reading.name: reading.value for reading in bits},
        }
        outcome.curve.append(point)
        metrics(point)
        if nats < self.best_nats or not self.best or self.scheduled:
            self.best_nats, self.worse = nats, 0
            self.best = {k: v.clone() for k, v in checkpoint.weights(self.model).items()}
        else:
            self.worse += 1
            if config.patience and self.worse >= config.patience:
                outcome.stopped = "patience"
        self.loss_sum.zero_()
        self.loss_steps = 0
        if self.watch is not None:
            self.watch(self._progress(rate))

    def _train_nats(self) -> float:
        if self.loss_steps:
            return self.loss_sum.item() / self.loss_steps
        return self.outcome.curve[-1]["train_nats"] if self.outcome.curve else math.nan

    def _progress(self, rate: float) -> Progress:
        outcome = self.outcome
        return Progress(
            step=outcome.step,
            share=min(1.0, self.share),
            tokens=outcome.step * self.config.tokens_per_step,
            train_nats=self._train_nats(),
            valid_nats=outcome.curve[-1]["valid_nats"] if outcome.curve else None,
            cpu_seconds=outcome.cpu_seconds,
            wall_seconds=outcome.wall_seconds,
            learning_rate=rate,
        )

    def _divergence(self, rate: float) -> str:
        place = self._latest()
        kept = "" if place is None else f"; the last good checkpoint is {place}"
        return (
            f"the loss is no longer a finite number at step {self.outcome.step} "
            f"(learning rate {rate:.2g}); try a lower --lr{kept}"
        )

    def _latest(self) -> Path | None:
        return checkpoint.latest(self.folder) if self.folder else None

    def _checkpoint_due(self) -> bool:
        return self.outcome.wall_seconds - self.saved > self.checkpoint_seconds

    def _save(self) -> None:
        if self.folder is None:
            return
        outcome = self.outcome
        numbers = {
            "config": self.config.to_json(),
            "curve": outcome.curve,
            "step": outcome.step,
            "cpu_seconds": outcome.cpu_seconds,
            "wall_seconds": outcome.wall_seconds,
            "stopped": outcome.stopped,
            "best_nats": self.best_nats if self.best else None,
            "worse": self.worse,
            "loss_sum": self.loss_sum.item(),
            "loss_steps": self.loss_steps,
        }
        tensors = checkpoint.tensors_of(self.model, self.best, self.optimiser, self.carried)
        self.ranks.save(self.folder, tensors, numbers)
        self.saved = outcome.wall_seconds

    def _restore(self, place: Path) -> None:
        numbers = checkpoint.numbers_of(place)
        before, now = numbers["config"], self.config.to_json()
        if before != now:
            changed = [k for k in before | now if k not in now or before.get(k) != now[k]]
            raise ValueError(
                f"{self.folder} holds an unfinished run with other settings "
                f"({', '.join(changed)} differ); give the same ones, or another --out"
            )
        self.best, self.carried = checkpoint.restore(
            self.ranks.load(place, self.model),
            model=self.model,
            optimiser=self.optimiser,
            parts=self.config.accumulate,
            rows=self.config.batch_size // self.ranks.world,
        )
        self.outcome = Outcome(
            numbers["curve"],
            numbers["step"],
            numbers["cpu_seconds"],
            numbers["wall_seconds"],
            numbers["stopped"],
        )
        self.best_nats = math.inf if numbers["best_nats"] is None else numbers["best_nats"]
        self.worse, self.loss_steps = numbers["worse"], numbers["loss_steps"]
        self.loss_sum.fill_(numbers["loss_sum"])
        self.saved = self.outcome.wall_seconds

    @contextlib.contextmanager
    def _metrics(self) -> Iterator[Callable[[dict], None]]:
        """Append JSON lines; after a resume, lines the lost steps had written are dropped first."""
        if self.folder is None or not self.ranks.first:
            yield lambda point: None
            return
        kept = "".join(json.dumps(point) + "\n" for point in self.outcome.curve)
        path = write_atomic(self.folder / "metrics.jsonl", kept.encode())
        with path.open("a", encoding="utf-8") as file:

            def write(point: dict) -> None:
                file.write(json.dumps(point) + "\n")
                file.flush()

            yield write
            os.fsync(file.fileno())


@contextlib.contextmanager
def _interruptible(ranks: Ranks) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that a step is finished; a second one stops at once.

    Several ranks are told by torchrun, which tells them twice, and kills them if they take 30 seconds.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(signum, frame) -> None:
        if ranks.world == 1:
            signal.signal(signum, former[signum])
        flag.set()

    former = {stop: signal.signal(stop, handle) for stop in ranks.stops}
    after = former
    try:
        yield flag
    except BaseException:
        if ranks.world > 1:  # torchrun's next signal must not come before the reason is told
            after = dict.fromkeys(former, signal.SIG_IGN)
        raise
    finally:
        for stop, handler in after.items():
            signal.signal(stop, handler)
