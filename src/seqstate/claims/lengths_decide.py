"""Does controlling the lengths of queries and keys decide whether attention learns well?

The essay (E9): a model that can change lengths to win will do so. Two models differ in `qk_norm` alone: with
it queries and keys are of fixed length and each head learns one sharpness (Henry et al. 2020); without it
their lengths are free. Both meet at the best learning rate of each, and again at four times the free one's,
where free lengths are said to run away (Wortsman et al. 2023, https://arxiv.org/abs/2309.14322). Lengths
(before any normalisation) and the weight of the strongest edge are read before and after.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqstate.claims._language import config_of, look, read_text
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.record import Reading
from seqstate.run import start

STATE = "attention(heads=4, layers=2, qk_norm={}, width=64)"
KINDS = {"fixed": STATE.format(True), "free": STATE.format(False)}
RATES = (0.003, 0.01, 0.03, 0.1)
HIGHER = 4.0  # the second meeting's rate, over the best one of free lengths
GAINS = {"best": 0.02, "high": 0.05}  # fewer nats, as a share of the free one's
SEEDS = 3
EFFORTS = {"full": (400, SEEDS), "small": (3, 1)}  # steps, seeds
INSTRUMENTS = ("qk_lengths", "graph")
SHOWN = ("query_length", "key_length", "key_length_spread", "graph_sharpness")


class LengthsDecide(Claim):
    """See the file's docstring."""

    statement = (
        "Controlling the lengths of queries and keys decides whether attention learns well: it predicts "
        "better with them fixed, and goes on learning at rates where free lengths do not."
    )
    criterion = (
        "On every text, in each of 3 seeds: fixed lengths (qk_norm) take 2 % fewer nats a token or more than "
        "free ones, each at its best learning rate, and 5 % fewer or more at four times the free one's best. "
        "Either alone does not hold. Characters, 2 layers of 64, 400 steps of 16 x 128 tokens for all; the "
        "best of 0.003, 0.01, 0.03 and 0.1 on seed 0, which is then left out. A run that diverges takes "
        "infinitely many nats."
    )
    texts = 1
    tokenizer = "char"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds = EFFORTS[effort]
        trials = []
        for corpus in corpora:
            tuning = {
                kind: [_trial(corpus, kind, "tune", rate, steps, 0) for rate in RATES]
                for kind in KINDS
            }
            trials += [trial for kind in KINDS for trial in tuning[kind]]
            found = {kind: [done.get(one.key) for one in tuning[kind]] for kind in KINDS}
            if any(record is None for kind in KINDS for record in found[kind]):
                continue
            best = {kind: min(found[kind], key=_nats)["lr"] for kind in KINDS}
            high = HIGHER * best["free"]
            for seed in range(1, seeds + 1):
                trials += [_trial(corpus, k, "best", best[k], steps, seed) for k in KINDS]
                trials += [_trial(corpus, k, "high", high, steps, seed) for k in KINDS]
        return trials

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        corpus = corpora[trial.settings["corpus"]]
        settings = {**trial.settings, "eval_every": trial.settings["steps"]}
        fresh = start(config_of(settings), corpus).model
        before = [
            dataclasses.replace(reading, name=f"start_{reading.name}")
            for reading in look(fresh, corpus, INSTRUMENTS)
            if reading.name in SHOWN
        ]
        return [*read_text(settings, corpus, folder, tell, INSTRUMENTS), *before]

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        texts = sorted({record["corpus"] for record in records})
        rows = [row for text in texts for row in _rows([r for r in records if r["corpus"] == text])]
        if not texts:
            return Verdict(None, "no records", rows)
        gains: dict[str, list[float]] = {stage: [] for stage in GAINS}
        for text in texts:
            for stage in GAINS:
                pairs = _pairs([r for r in records if r["corpus"] == text and r["stage"] == stage])
                if len(pairs) < SEEDS:
                    told = f"{text}: wanted {SEEDS} seeds of both at the {stage} rate"
                    return Verdict(None, f"{told}, found {len(pairs)}", rows)
                gains[stage] += [_gain(fixed, free) for fixed, free in pairs.values()]
        met = {stage: min(gains[stage]) >= wanted for stage, wanted in GAINS.items()}
        told = "; ".join(
            f"at {where} fixed lengths take {min(gains[s]):.1%} to {max(gains[s]):.1%} fewer nats"
            for s, where in (("best", "the best rates"), ("high", "four times the free one's"))
        )
        return Verdict(all(met.values()), told, rows)


def _trial(corpus: str, kind: str, stage: str, rate: float, steps: int, seed: int) -> Trial:
    settings = {"corpus": corpus, "kind": kind, "stage": stage, "state": KINDS[kind]}
    settings |= {"energy": "inner", "lr": rate, "steps": steps, "seed": seed}
    return Trial(settings, seconds=steps * 0.04)


def _nats(record: TrialRecord | None) -> float:
    return record.value("nats_per_token") if record and record.readings else math.inf


def _pairs(records: Sequence[TrialRecord]) -> dict[int, tuple[TrialRecord, TrialRecord]]:
    """The records of both kinds by seed."""
    sides = {kind: {r["seed"]: r for r in records if r["kind"] == kind} for kind in KINDS}
    seeds = sorted(set(sides["fixed"]) & set(sides["free"]))
    return {seed: (sides["fixed"][seed], sides["free"][seed]) for seed in seeds}


def _gain(fixed: TrialRecord, free: TrialRecord) -> float:
    """Nats that fixed lengths save, as a share of the free one's; 1 if only the free one diverged."""
    ours, theirs = _nats(fixed), _nats(free)
    if math.isinf(theirs):
        return 0.0 if math.isinf(ours) else 1.0
    return 1 - ours / theirs


def _rows(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """A row a kind, stage and rate: means over its seeds; no figures where a run diverged."""
    groups: dict[tuple, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record["stage"], record["lr"], record["kind"]), []).append(record)
    order = ("tune", "best", "high")
    rows = []
    for key in sorted(groups, key=lambda key: (order.index(key[0]), *key[1:])):
        some, (stage, rate, kind) = groups[key], key
        row = {"corpus": some[0]["corpus"], "stage": stage, "lr": rate, "lengths": kind}
        row |= {"seeds": len(some), "nats": None}
        if all(record.readings for record in some):
            row |= {"nats": round(_mean(some, "nats_per_token"), 4)}
            for name in SHOWN:
                row |= {f"{name}_{end}": round(_mean(some, told), 3) for end, told in _ends(name)}
        rows.append(row)
    return rows


def _ends(name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("before", f"start_{name}"), ("after", name)


def _mean(records: Sequence[TrialRecord], name: str) -> float:
    return sum(record.value(name) for record in records) / len(records)
