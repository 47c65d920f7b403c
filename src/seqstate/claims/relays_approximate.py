"""Do a few shared nodes stand in for attention's pairwise graph: relay, inducing points, gated slots?

At attention's parameters, steps and learning rate: bits per byte of held-out text, and how far what the
nodes give is from exact attention over the layer's own queries, keys and values (instrument relay_error),
before and after training. `mean_error` is that of the plain mean of all values, which needs no graph at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqstate.claims._language import begun, config_of, settings_of, taught
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.model import count_parameters
from seqstate.core.record import Reading, RunConfig
from seqstate.core.task import Batch
from seqstate.instruments.relay_error import RelayError
from seqstate.match import match_width, parameters_of

FULL = "attention(heads=4, layers=2, width=96, window=256)"
NODES = ("relay", "inducing", "gated_slots")
WORSE, SHARE = 0.02, 0.5  # bits per byte above attention's; error over the plain mean's
CONTEXT, ROWS, SEEDS = 256, 8, 2


class RelaysApproximate(Claim):
    """See the file's docstring."""

    statement = (
        "Factored through shared nodes of fixed size, attention predicts as well at equal parameters, and "
        "what the nodes give approximates the full aggregate of queries and keys."
    )
    criterion = (
        "On every text, at attention's parameters (2 layers of 96, window 256), 300 steps of 8 x 256 tokens "
        "at one learning rate, in the mean of 2 seeds or more: a relay, inducing points or gated slots have "
        "at most 2 % more bits per byte than attention, and after training the relative error of what they "
        "give, 256 tokens on, is at most half of what the plain mean of all values would make."
    )
    texts = 1
    tokenizer = "char"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds = (300, range(SEEDS)) if effort == "full" else (4, range(1))
        trials = []
        for seed in seeds:
            for corpus in corpora:
                for kind in ("attention", *NODES):
                    config = RunConfig(
                        state=FULL if kind == "attention" else f"{kind}(layers=2)",
                        energy="inner",
                        corpus=corpus,
                        seed=seed,
                        steps=steps,
                        batch_size=ROWS,
                        context=CONTEXT,
                        eval_every=steps,
                    )
                    settings = {"kind": kind, **settings_of(config), "steps": steps}
                    trials.append(Trial(settings, seconds=steps * 0.15))
        return trials

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        corpus = corpora[trial.settings["corpus"]]
        config = _matched(config_of(trial.settings), corpus.tokenizer.vocab_size)
        trained = begun(config, corpus)
        held = _held_out(corpus)
        at_start = [
            Reading(f"start_{one.name}", one.value, one.unit, one.count, one.stderr)
            for one in _errors(trained.model, held)
        ]
        outcome = taught(trained, config, corpus, folder, tell)
        found = trained.evaluate_ids(corpus.valid, corpus.valid_bytes).readings()
        return [
            *(one for one in found if one.name == "bits_per_byte"),
            *at_start,
            *_errors(trained.model, held),
            Reading("parameters", count_parameters(trained.model), "1"),
            Reading("cpu_seconds", outcome.cpu_seconds, "s"),
        ]

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        finished = [record for record in records if record.readings]
        texts = sorted({record["corpus"] for record in finished})
        rows = [row for text in texts for row in _rows(text, finished)]
        judged = [row for row in rows if row["seeds"] >= SEEDS]
        kinds = [
            kind for kind in NODES if len([r for r in judged if r["state"] == kind]) == len(texts)
        ]
        if not texts or set(kinds) != set(NODES):
            return Verdict(
                None, f"too few records: wanted {SEEDS} seeds of all on every text", rows
            )
        won = [kind for kind in kinds if all(_wins(row) for row in judged if row["state"] == kind)]
        nearest = min(judged, key=lambda row: row["above_attention"])
        closest = min(judged, key=lambda row: row["error"] / row["mean_error"])
        figures = (
            f"{nearest['state']} has {nearest['above_attention']:+.1%} bits per byte; {closest['state']} an "
            f"error of {closest['error']:.2f}, the plain mean {closest['mean_error']:.2f}"
        )
        if won:
            return Verdict(True, f"{', '.join(won)} on {len(texts)} text(s): {figures}", rows)
        return Verdict(False, f"none does both; {figures}", rows)


def _matched(config: RunConfig, vocab_size: int) -> RunConfig:
    """The configuration as wide as gives it attention's parameters."""
    if config.state == FULL:
        return config
    parameters = parameters_of(FULL, config.energy, vocab_size, config.tie)
    state = match_width(
        config.state,
        config.energy,
        vocab_size=vocab_size,
        tie=config.tie,
        head_width=None,
        parameters=parameters,
    )
    return config.replace(state=state)


def _held_out(corpus: Any) -> Batch:
    """Windows of CONTEXT tokens spread over the held-out text (shorter ones if it is short)."""
    size = min(CONTEXT, (len(corpus.valid) - 1) // ROWS)
    starts = np.linspace(0, len(corpus.valid) - size - 1, ROWS).astype(np.int64)
    ids = np.stack([np.asarray(corpus.valid[s : s + size + 1]).astype(np.int64) for s in starts])
    rows = torch.from_numpy(ids)
    return Batch(rows[:, :-1], rows[:, 1:])


def _errors(model: Any, batch: Batch) -> list[Reading]:
    instrument = RelayError()
    return instrument.measure(model, batch) if instrument.applies_to(model) else []


def _rows(text: str, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """A row a state: means over the seeds it shares with attention."""
    runs: dict[str, dict[int, TrialRecord]] = {}
    for record in records:
        if record["corpus"] == text:
            runs.setdefault(record["kind"], {})[record["seed"]] = record
    rows, full = [], runs.get("attention", {})
    for kind in NODES:
        seeds = sorted(set(runs.get(kind, {})) & set(full))
        if not seeds:
            continue
        ours, theirs = ([side[seed] for seed in seeds] for side in (runs[kind], full))
        bits, others = _mean(ours, "bits_per_byte"), _mean(theirs, "bits_per_byte")
        row = {"corpus": text, "state": kind, "seeds": len(seeds)}
        row |= {"bits_per_byte": bits, "attention": others, "above_attention": bits / others - 1}
        row |= {"error": _mean(ours, "relay_error"), "mean_error": _mean(ours, "mean_error")}
        row |= {"error_at_start": _mean(ours, "start_relay_error")}
        sizes = [_mean(side, "parameters") for side in (ours, theirs)]
        rows.append({**row, "against_parameters": sizes[0] / sizes[1] - 1})
    return rows


def _mean(records: Sequence[TrialRecord], name: str) -> float:
    return sum(record.value(name) for record in records) / len(records)


def _wins(row: Mapping[str, Any]) -> bool:
    near = row["above_attention"] <= WORSE
    return near and row["error"] <= SHARE * row["mean_error"]
