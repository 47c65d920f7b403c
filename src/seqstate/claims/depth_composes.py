"""Does an operator that is k deep need k layers of attention: k hops by fewer than k layers, or not?

The essay (E12): stacked layers approximate a deeper operator on the graph, "if the operator needs a k-deep
tree, the Transformer needs at least k layers". Theory since: floor(log2 k) + 2 layers suffice for k hops
(Sanford, Hsu & Telgarsky 2024), as a layer can double the hops that were found before it. Each model learns
0 to 6 hops at once, the number told by the first token, which lets easy sequences teach the hard ones. What
is not solved was not learnt in so many steps; that it is impossible is not said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seqstate.claims._tasks import HELD_OUT, learnt
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.model import IGNORE, LanguageModel, count_parameters
from seqstate.core.record import Reading
from seqstate.core.task import Task

HOPS, LEARNT = 6, (2, 3, 4)  # LEARNT: k that must be solved by somebody before anything is decided
TASK = f"khop(hops={HOPS}, length=32, mixed=True, symbols=4)"
LAYERS = (1, 2, 3, 4)
SOLVED, SEEDS = 0.95, 2
EFFORTS = {"full": (3500, SEEDS, LAYERS), "small": (4, 1, LAYERS[:2])}  # steps, seeds, layers


class DepthComposes(Claim):
    """See the file's docstring."""

    statement = (
        "An operator that is k deep needs k layers: no fewer layers of attention solve k hops."
    )
    criterion = (
        "k is solved by L layers if accuracy on fresh sequences is 0.95 or more in every seed (2 or more; "
        "chance 0.25, the oracle 1). Does not hold if any k of 2 to 6 is solved by fewer than k layers; "
        "holds if none is and each of k = 2, 3, 4 is solved by k layers or more; else too little was learnt. "
        "khop with 4 symbols, length 32, 0 to 6 hops mixed; attention of width 64, 4 heads, 1 to 4 layers; "
        "3,500 steps of 64 sequences at learning rate 0.003 for all. Beside it: which k the theory's "
        "floor(log2 k) + 2 layers solved."
    )

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds, depths = EFFORTS[effort]
        common = {"task": TASK, "steps": steps, "batch_size": 64, "lr": 0.003, "min_lr": 0.05}
        return [
            Trial(
                {
                    "state": f"attention(heads=4, layers={layers}, width=64)",
                    "layers": layers,
                    **common,
                    "seed": seed,
                },
                seconds=steps * 0.016 * layers,
            )
            for seed in range(seeds)
            for layers in depths
        ]

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        wanted = trial.settings
        model, task, spent = learnt(wanted, tell)
        return [
            *by_hops(model, task, 2800),
            Reading("parameters", count_parameters(model), "1"),
            Reading("cpu_seconds", spent, "s"),
        ]

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        worst = {layers: _worst(layers, records) for layers in LAYERS}
        table = [row for layers in LAYERS for row in _rows(layers, records)]
        if missing := [layers for layers in LAYERS if not worst[layers]]:
            return Verdict(None, f"wanted {SEEDS} seeds or more of {missing} layers", table)
        fewest = {
            k: min((n for n in LAYERS if worst[n][k] >= SOLVED), default=None)
            for k in range(1, HOPS + 1)
        }
        told = "fewest layers that solve k hops: "
        told += ", ".join(f"k = {k}: {n or 'none'}" for k, n in fewest.items())
        met = [k for k in fewest if (n := _in_theory(k)) in LAYERS and worst[n][k] >= SOLVED]
        told += f"; floor(log2 k) + 2 layers did for k = {', '.join(map(str, met)) or 'none'}"
        if any(n and n < k for k, n in fewest.items()):
            return Verdict(False, told, table)
        if all(fewest[k] for k in LEARNT):
            return Verdict(True, told, table)
        return Verdict(None, f"too little was learnt; {told}", table)


def by_hops(model: LanguageModel, task: Task, rows: int) -> list[Reading]:
    """Accuracy over the asked positions of fresh sequences, for each number of hops: `accuracy_k`."""
    batch = task.sample(rows, HELD_OUT)
    with torch.inference_mode():
        logits, _ = model(batch.tokens)
    asked, right = batch.targets != IGNORE, logits.argmax(-1) == batch.targets
    readings = []
    for hops in range(HOPS + 1):
        chosen = right[asked & (batch.tags["hops"] == hops)].double()
        name, value = f"accuracy_{hops}", float(chosen.mean())
        readings.append(Reading(name, value, "share", len(chosen)))
    return readings


def _in_theory(hops: int) -> int:
    """Layers that suffice (Sanford, Hsu & Telgarsky 2024)."""
    return math.floor(math.log2(hops)) + 2


def _of(layers: int, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    found = [record for record in records if record["layers"] == layers and record.readings]
    return sorted(found, key=lambda record: record["seed"])


def _worst(layers: int, records: Sequence[TrialRecord]) -> dict[int, float]:
    """The lowest accuracy over the seeds by k; empty where the seeds are too few."""
    found = _of(layers, records)
    if len(found) < SEEDS:
        return {}
    return {k: min(one.value(f"accuracy_{k}") for one in found) for k in range(1, HOPS + 1)}


def _rows(layers: int, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    rows = []
    for record in _of(layers, records):
        row = {"layers": layers, "seed": record["seed"]}
        row |= {f"k = {k}": round(record.value(f"accuracy_{k}"), 3) for k in range(1, HOPS + 1)}
        row |= {"parameters": round(record.value("parameters"))}
        rows.append({**row, "cpu_seconds": round(record.value("cpu_seconds"), 1)})
    return rows
