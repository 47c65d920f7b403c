"""compare: several `state + energy` at equal parameters, data and tokens, as resumable records.

A comparison is a folder:

    plan.json           what was asked and what was settled (widths, steps), so that it can go on
    tuning/<key>/       short runs that chose a learning rate, if several were given
    runs/<key>/         one trained model and its run.json each, named by the hash of its configuration
    report.html
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from seqstate.core import registry
from seqstate.core.record import Run, RunConfig, write_json
from seqstate.core.spec import parse, parse_pair
from seqstate.errors import Diverged, Interrupted
from seqstate.match import has_width, is_counted, match_width, parameters_of
from seqstate.model import build_model, energy_for
from seqstate.pool import Pool, Task, side_by_side
from seqstate.run import execute, start
from seqstate.text.store import Corpus, starvation
from seqstate.train import Progress, fit

PROBE_SECONDS = 2.0  # of training, to learn a model's speed
NEVER = 1 << 40
RUN_SECONDS = 4.0  # of a run that are not its training: a process begins, the model is evaluated
UNTRAINED_SHARE = 0.12  # of a budget, kept for validation, evaluation and start-up


LADDER = [
    "ngram(order=4)",
    "rnn + inner",
    "lstm + inner",
    "lstm + multi_hamming",
    "attention + inner",
    "attention + multi_hamming",
]
TREES = {"pcfg", "table_pcfg", "low_rank_pcfg", "simple_pcfg"}  # last in a ladder


@dataclass(frozen=True)
class Entry:
    """One row of a comparison, before seeds: specs with the settled width."""

    state: str
    energy: str | None
    parameters: int | None  # None: a counted table
    lr: float | None = None  # tuned peak learning rate; None: the base configuration's

    @property
    def label(self) -> str:
        return self.state + (f" + {self.energy}" if self.energy else "")


@dataclass
class Plan:
    """What a comparison settles before it trains; `base` has every entry's steps or seconds."""

    corpus: str
    base: RunConfig
    parameters: int
    entries: list[Entry] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    rates: dict[str, float] = field(default_factory=dict)  # label -> probed training tokens/s

    def config(self, entry: Entry, seed: int) -> RunConfig:
        rate = self.base.lr if entry.lr is None else entry.lr
        return self.base.replace(state=entry.state, energy=entry.energy, seed=seed, lr=rate)

    def configs(self) -> list[RunConfig]:
        """All runs, seeds outermost, so that an interrupted comparison has whole ladders."""
        return [
            self.config(entry, seed)
            for seed in self.seeds
            for entry in self.entries
            if seed == self.seeds[0] or entry.parameters is not None  # counting has no seed
        ]


def ladder(name: str) -> list[str]:
    """The models of a ladder: `default`, or `full`: every state there is, with the inner product.

    Raises ValueError for another name.
    """
    if name == "default":
        return list(LADDER)
    if name != "full":
        raise ValueError(f"no ladder {name!r}: there are default and full")
    trees = [state for state in registry.names("states") if state in TREES]
    others = [state for state in registry.names("states") if state not in TREES]
    return [*others, "lstm + multi_hamming", "attention + multi_hamming", *trees]


def settle(
    models: Sequence[str],
    corpus: Corpus,
    base: RunConfig,
    *,
    parameters: int,
    seeds: Sequence[int],
    settled: bool = False,
) -> Plan:
    """Solve the widths. Raises ValueError for specs that cannot be read or built.

    Widths come in steps, of eight for four heads, so one model may miss the wanted number; then the others
    are matched to that one, if that brings all nearer together.
    """
    plan = Plan(corpus.id, base, parameters, seeds=list(seeds))
    pairs = [tuple(part and str(part) for part in parse_pair(text)) for text in models]
    vocab_size = corpus.tokenizer.vocab_size
    plan.entries = [_entry(*pair, base, vocab_size, parameters) for pair in pairs]
    if len({entry.label for entry in plan.entries}) < len(plan.entries):
        raise ValueError(
            "the same model is asked for twice; name each once and use --seeds to repeat"
        )
    sizes = [entry.parameters for entry in plan.entries if entry.parameters]
    if sizes and not settled:  # a number settled before stays, or runs would be lost
        farthest = max(sizes, key=lambda size: abs(math.log(size / parameters)))
        again = [_entry(*pair, base, vocab_size, farthest) for pair in pairs]
        if _unlike(again) < _unlike(plan.entries):
            plan.entries, plan.parameters = again, farthest
    return plan


def _entry(
    state: str, energy: str | None, base: RunConfig, vocab_size: int, parameters: int
) -> Entry:
    energy = energy_for(state, energy)
    if is_counted(state):
        build_model(state, vocab_size=vocab_size)  # refuses here, not after an hour
        return Entry(state, energy, None)
    shape = {"vocab_size": vocab_size, "tie": base.tie, "head_width": base.head_width}
    if has_width(state) and "width" not in parse(state).options:
        state = match_width(state, energy, parameters=parameters, **shape)
    return Entry(state, energy, parameters_of(state, energy, **shape))


def _unlike(entries: Sequence[Entry]) -> float:
    """How far apart the largest and the smallest model are: the logarithm of their ratio."""
    sizes = [entry.parameters for entry in entries if entry.parameters]
    return math.log(max(sizes) / min(sizes))


def probe_rate(config: RunConfig, corpus: Corpus) -> float:
    """Training tokens a second of one model: the training loop itself, for a moment."""
    torch.set_num_threads(config.threads)
    probe = config.replace(steps=None, seconds=PROBE_SECONDS, eval_every=NEVER)
    marks = {"boundary": corpus.tokenizer.boundary, "separator": corpus.separator}
    outcome = fit(start(probe, corpus).model, corpus.train, corpus.valid, probe, **marks)
    return outcome.step * probe.tokens_per_step / outcome.wall_seconds


def steps_for(plan: Plan, corpus: Corpus, seconds: float, jobs: int, rates: int = 1) -> int:
    """Optimiser steps, the same for all entries, so that the whole comparison takes about `seconds`."""
    trained = [entry for entry in plan.entries if entry.parameters is not None]
    if not trained:
        return 1
    for entry in trained:
        if entry.label not in plan.rates:
            config = plan.config(entry, plan.seeds[0])
            plan.rates[entry.label] = probe_rate(config, corpus)
    slowest_first = sorted((1 / plan.rates[entry.label] for entry in trained), reverse=True)
    # seconds a token, over the whole comparison
    cost = makespan(slowest_first * len(plan.seeds), jobs)
    if rates > 1:
        cost += makespan(slowest_first * rates, jobs) / TUNING_SHARE
    return max(20, int(seconds * (1 - UNTRAINED_SHARE) / cost / plan.base.tokens_per_step))


def seconds_for(plan: Plan, seconds: float, jobs: int, rates: int = 1) -> float:
    """Training seconds, the same for all entries, so that the whole comparison takes about `seconds`."""
    models = len(plan.entries)
    turns = makespan([1.0] * models * len(plan.seeds), jobs)
    if rates > 1:
        turns += makespan([1.0] * models * rates, jobs) / TUNING_SHARE
    return max(1.0, seconds * (1 - UNTRAINED_SHARE) / turns - RUN_SECONDS)


def makespan(durations: Sequence[float], workers: int) -> float:
    """When the last of these jobs ends, if each in turn goes to the first worker that is free."""
    free = [0.0] * max(1, workers)
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def save_plan(plan: Plan, folder: Path, extra: dict[str, Any]) -> None:
    data = {
        **extra,
        "corpus": plan.corpus,
        "parameters_matched": plan.parameters,
        "seeds": plan.seeds,
        "steps": plan.base.steps,
        "seconds": plan.base.seconds,
        "models": [entry.label for entry in plan.entries],
        "learning_rates": {entry.label: entry.lr for entry in plan.entries if entry.lr is not None},
        "tokens_per_second": {label: round(rate) for label, rate in plan.rates.items()},
    }
    write_json(folder / "plan.json", data)


def load_plan(folder: Path) -> dict[str, Any] | None:
    """The plan a former comparison in this folder settled, or None."""
    path = folder / "plan.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@dataclass
class Status:
    """What a watcher sees of one run."""

    label: str
    share: float = 0.0
    train_nats: float | None = None
    valid_nats: float | None = None
    done: bool = False


TUNING_SHARE = 4  # a tuning run has a quarter of the steps


def tune(
    plan: Plan,
    rates: Sequence[float],
    corpus: Corpus,
    folder: Path,
    *,
    command: str,
    pool: Pool | None = None,
    watch: Callable[[list[Status]], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Give every entry the learning rate that serves it best in a short run: equal effort for all.

    Records are kept under `folder/tuning`, apart from the comparison's own. A rate that diverges loses.
    """
    trained = [entry for entry in plan.entries if entry.parameters is not None]
    base = plan.base
    if base.seconds is None:
        base = base.replace(steps=max(20, (base.steps or 0) // TUNING_SHARE))
    else:
        base = base.replace(seconds=max(1.0, base.seconds / TUNING_SHARE))
    tries = [
        Plan(plan.corpus, base.replace(lr=rate), plan.parameters, trained, plan.seeds[:1])
        for rate in rates
    ]
    configs = [config for attempt in tries for config in attempt.configs()]
    place = folder / "tuning"
    training = {"command": command, "pool": pool, "watch": watch, "note": note}
    runs = run_all(configs, corpus, place, may_diverge=True, rates=plan.rates, **training)
    best: dict[str, Run] = {}
    for run in runs:
        former = best.setdefault(run.label, run)
        if run.reading("nats_per_token").value < former.reading("nats_per_token").value:
            best[run.label] = run
    plan.entries = [
        replace(entry, lr=best[entry.label].config.lr) if entry.label in best else entry
        for entry in plan.entries
    ]


def run_all(
    configs: Sequence[RunConfig],
    corpus: Corpus,
    folder: Path,
    *,
    command: str,
    pool: Pool | None = None,
    watch: Callable[[list[Status]], None] | None = None,
    note: Callable[[str], None] | None = None,
    may_diverge: bool = False,
    rates: Mapping[str, float] | None = None,
) -> list[Run]:
    """Run what has no record in `folder` yet; return all.

    pool: runs them side by side; None: one after another in this process. note: told of lost workers.
    With `rates` (label -> tokens/s), a seed's slowest model comes first, so that no core waits at the end.

    Raises Diverged if a run's loss stopped being a number (`may_diverge`: it is left out), Interrupted on
    Ctrl-C; what is done and the checkpoints of what is not are kept, and the same call goes on from there.
    """
    folders = [folder.absolute() / config.key for config in configs]
    status = [Status(Entry(config.state, config.energy, None).label) for config in configs]
    for one, place in zip(status, folders, strict=True):
        one.done = (place / "run.json").exists()
    missing = [index for index, one in enumerate(status) if not one.done]
    if rates:
        turn = [
            (config.seed, rates.get(one.label, math.inf))
            for config, one in zip(configs, status, strict=True)
        ]
        missing.sort(key=turn.__getitem__)
    counts = starvation(corpus) if missing else {}
    corpora, found = {corpus.id: corpus}, dict[str, Run]()
    tasks = [
        Task(
            f"{status[index].label}, seed {configs[index].seed}",
            folders[index],
            (configs[index], command, counts, may_diverge),
        )
        for index in missing
    ]

    def follow(run: Run | None = None) -> None:
        if run:
            found[run.key] = run
        for index in missing:
            status[index].done |= configs[index].key in found
            _follow(status[index], folders[index], configs[index])
        if watch:
            watch(status)

    try:
        if pool is None:
            for index, task in zip(missing, tasks, strict=True):
                into = _into(status, index, watch)
                run = _execute(corpora, task.folder, *task.arguments, watch=into)
                status[index].done = True
                follow(run)
        else:
            side_by_side(_execute, tasks, corpora, pool=pool, done=follow, tick=follow, note=note)
    except (KeyboardInterrupt, Interrupted):
        kept = f"what is done is kept in {folder}; the same command goes on from there"
        raise Interrupted(f"stopped; {kept}") from None
    records = [place / "run.json" for place in folders]
    return [
        found[config.key] if config.key in found else Run.load(record)
        for config, record in zip(configs, records, strict=True)
        if config.key in found or record.exists() or not may_diverge
    ]


def _execute(corpora, folder, config, command, counts, may_diverge, watch=None) -> Run | None:
    [corpus] = corpora.values()
    try:
        return execute(config, corpus, folder, command=command, starvation=counts, watch=watch)
    except Diverged:
        if not may_diverge:
            raise
        return None


def _into(status: list[Status], index: int, watch) -> Callable[[Progress], None]:
    def update(progress: Progress) -> None:
        status[index].share = progress.share
        status[index].train_nats = progress.train_nats
        status[index].valid_nats = progress.valid_nats
        if watch:
            watch(status)

    return update


def _follow(status: Status, folder: Path, config: RunConfig) -> None:
    status.done |= (folder / "run.json").exists()
    metrics = folder / "metrics.jsonl"
    if status.done or not metrics.exists():
        return
    lines = metrics.read_text(encoding="utf-8").splitlines()
    if lines:
        try:
            point = json.loads(lines[-1])
        except ValueError:
            return  # the line is being written
        if config.seconds is None:
            status.share = min(1.0, point["step"] / (config.steps or 1))
        else:
            status.share = min(1.0, point["wall_seconds"] / config.seconds)
        status.train_nats, status.valid_nats = point["train_nats"], point["valid_nats"]
