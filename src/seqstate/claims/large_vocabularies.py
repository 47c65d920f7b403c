"""Does another energy learn SpamLang with larger vocabularies than a linear output layer?

Godey & Artzi 2026 (https://arxiv.org/abs/2603.10145): "repeat the one symbol" is trivial, yet with a linear
output layer it is learnt ever more slowly as the vocabulary grows, because the layer loses most of the logit
gradient on its way to the hidden vector. Whether an energy of the essay's family passes more of it on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seqstate.claims._tasks import score_on_task, train_on_task
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.record import Reading, RunConfig
from seqstate.model import build_model
from seqstate.tasks.spam_lang import SpamLang

FAMILY = (
    "multi_hamming(groups=4)",
    "multi_hamming(groups=4, start=0.0625, tau=64.0)",
    "soft_bits",
    "soft_bits(form='both')",
    "harmonic",
)
INNERS = ("inner", "inner(scale=16.0, start=0.0625)")
PEERS = ("mos",)
RATES = (0.01, 0.03, 0.003)  # the likeliest first
LEARNT = 0.99  # accuracy
SIZES = tuple(1 << power for power in range(7, 13))  # 128 ... 4,096: a run shows 25,600 symbols
HEAD, LENGTH, ROWS = 16, 2, 128


class LargeVocabularies(Claim):
    """See the file's docstring."""

    statement = (
        "At the same budget, a member of the essay's family learns SpamLang with larger vocabularies than "
        "the inner product."
    )
    criterion = (
        "The largest V learnt to 99 % accuracy (128 doubled up to 4,096, until all of three learning rates, "
        "0.01, 0.03 and 0.003, fail) is at least twice the inner product's (the better of two starts) in the "
        "median of 5 seeds and smaller in none. LSTM of width 32, words of 16 numbers, 200 steps of 128 "
        "sequences of 2 symbols."
    )

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds, sizes = (200, 5, SIZES) if effort == "full" else (10, 1, (16, 32))
        trials = []
        for seed in range(seeds):
            for energy in (*INNERS, *FAMILY, *PEERS):
                trials += _climb(energy, seed, steps, sizes, done)
        return trials

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        wanted = trial.settings
        torch.set_num_threads(1)
        torch.manual_seed(wanted["seed"])
        task = SpamLang(symbols=wanted["symbols"], length=LENGTH)
        model = build_model(
            "lstm(width=32)",
            wanted["energy"],
            vocab_size=task.vocab_size,
            tie=False,
            head_width=HEAD,
        )
        config = RunConfig(
            state="lstm(width=32)",
            energy=wanted["energy"],
            corpus="",
            steps=wanted["steps"],
            batch_size=ROWS,
            lr=wanted["lr"],
            seed=wanted["seed"],
        )
        train_on_task(model, task, config, tell)
        return score_on_task(model, task, 512)

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        largest: dict[str, dict[int, int]] = defaultdict(dict)
        for record in records:
            seeds = largest[record["energy"]]
            learnt = record["symbols"] if _learnt(record) else 0
            seeds[record["seed"]] = max(seeds.get(record["seed"], 0), learnt)
        table = [
            _row(energy, largest[energy])
            for energy in (*INNERS, *FAMILY, *PEERS)
            if largest[energy]
        ]
        inner = _best_of(largest[energy] for energy in INNERS)
        shared = [energy for energy in FAMILY if len(set(largest[energy]) & set(inner)) >= 5]
        if not shared:
            return Verdict(None, "too few records: wanted 5 seeds of inner and of a member", table)
        winners = [energy for energy in shared if _wins(largest[energy], inner)]
        best = max(shared, key=lambda energy: _median(largest[energy]))
        found = (
            f"inner learns V = {_median(inner):,}, {best} V = {_median(largest[best]):,} (medians)"
        )
        if _median(inner) == max(record["symbols"] for record in records):
            return Verdict(None, f"nothing larger was tried; {found}", table)
        if winners:
            return Verdict(True, f"{', '.join(winners)}: twice as many or more; {found}", table)
        return Verdict(False, f"no member learns twice as many; {found}", table)


def _climb(
    energy: str, seed: int, steps: int, sizes: Sequence[int], done: Mapping[str, TrialRecord]
) -> list[Trial]:
    """The trials of one energy and seed: the next vocabulary is tried where the one before was learnt."""
    trials = []
    for size in sizes:
        for rate in RATES:
            settings = {"energy": energy, "symbols": size, "steps": steps, "lr": rate, "seed": seed}
            trials.append(Trial(settings, seconds=steps * (0.004 + size * 4e-6)))
            record = done.get(trials[-1].key)
            if record is None:
                return trials
            if _learnt(record):
                break
        else:
            return trials
    return trials


def _best_of(energies: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The largest vocabulary any of some energies learnt, by seed."""
    best: dict[int, int] = {}
    for seeds in energies:
        for seed, size in seeds.items():
            best[seed] = max(best.get(seed, 0), size)
    return best


def _learnt(record: TrialRecord) -> bool:
    return bool(record.readings) and record.value("accuracy") >= LEARNT


def _row(energy: str, seeds: Mapping[int, int]) -> dict[str, Any]:
    values = sorted(seeds.values())
    return {
        "energy": energy,
        "largest_v": _median(seeds),
        "least": values[0],
        "most": values[-1],
        "seeds": len(values),
    }


def _median(seeds: Mapping[int, int]) -> int:
    values = sorted(seeds.values())
    return values[(len(values) - 1) // 2]


def _wins(ours: Mapping[int, int], inner: Mapping[int, int]) -> bool:
    both = set(ours) & set(inner)
    twice = _median({s: ours[s] for s in both}) >= 2 * _median({s: inner[s] for s in both}) > 0
    return twice and all(ours[seed] >= inner[seed] for seed in both)
