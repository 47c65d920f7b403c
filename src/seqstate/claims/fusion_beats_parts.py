"""Is a mix of counts, a neural rung and a cache better than each of them, with weights that are learnt?

The essay's last sentence (E14): "the fusion of the connectionist and the symbolic schools is where
statistical learning goes next". An unbounded n-gram, an LSTM and a cache of the recent past learn from the
same text. The first half of the held-out text chooses the LSTM's checkpoint and teaches the mixing weights,
the second half is read once. What each member adds is measured by leaving it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.model import Counted
from seqstate.core.record import Reading, RunConfig
from seqstate.fusing import advantage, learn, teachable
from seqstate.run import start
from seqstate.text.store import Corpus
from seqstate.train import fit
from seqstate.trained import Trained

MEMBERS = {
    "counts": "unbounded_ngram",
    "neural": "lstm(width=256)",
    "cache": "cache(window=3000, match=8, decay=0.9995)",
}
MARGIN, ERRORS, SEEDS, TEXTS = 0.01, 4.0, 3, 2
MIX, WEIGHTS = "geometric", "context"


class FusionBeatsParts(Claim):
    """See the file's docstring."""

    statement = (
        "One generator that mixes counts, a neural rung and a cache, by learnt weights, predicts text better "
        "than each of its parts."
    )
    criterion = (
        "On text that taught neither members nor weights, the mix takes fewer nats a token than its best "
        "member: by 1 % or more, and by 4 standard errors of the paired difference (blocks of 256 tokens), "
        "in every run: 3 seeds on every text, two texts or more. Leaving any member out makes it worse by "
        "more than 2 standard errors in every run, else that member is named as idle (the claim may hold "
        "without it)."
    )
    texts = TEXTS
    tokenizer = "char"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds = (800, SEEDS) if effort == "full" else (10, 1)
        return [
            Trial({"corpus": text, "seed": seed, "steps": steps}, seconds=steps * 0.15 + 20)
            for text in corpora
            for seed in range(seeds)
        ]

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        corpus: Corpus = corpora[trial.settings["corpus"]]
        half = len(corpus.valid) // 2
        teaching, testing = np.asarray(corpus.valid[:half]), np.asarray(corpus.valid[half:])
        members = {
            name: _trained(state, trial, corpus, teaching, folder, tell)
            for name, state in MEMBERS.items()
        }
        teaching = teaching[: teachable(list(members.values()), MIX)]
        mixes = {"fused": members} | {
            f"without_{left}": {name: one for name, one in members.items() if name != left}
            for left in members
        }
        results = {name: one.evaluate_ids(testing, 1) for name, one in members.items()}
        for name, parts in mixes.items():
            fused = learn(list(parts.values()), teaching, weights=WEIGHTS, mix=MIX)
            results[name] = fused.evaluate_ids(testing, 1)
        readings = []
        for name, result in results.items():
            nats, stderr, count = result.nats_per_token, result.stderr, len(result.nats)
            readings.append(Reading(f"nats_{name}", nats, "nat/token", count, stderr))
            if name != "fused":
                gain, stderr = advantage(results["fused"], result)
                readings.append(Reading(f"gain_on_{name}", gain, "nat/token", count, stderr))
        return readings

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        usable = [record for record in records if record.readings]
        table = [_row(record) for record in usable]
        seeds: dict[str, set[int]] = defaultdict(set)
        for record in usable:
            seeds[record["corpus"]].add(record["seed"])
        if len(seeds) < TEXTS or min(map(len, seeds.values())) < SEEDS:
            return Verdict(
                None, f"too few records: wanted {TEXTS} texts, {SEEDS} seeds each", table
            )
        idle = {name for row in table for name in MEMBERS if row[f"{name}_adds_errors"] <= 2}
        told = (
            f"; idle in some run: {', '.join(sorted(idle))}" if idle else "; each member adds to it"
        )
        shares = [row["gain_share"] for row in table]
        if all(row["gain_share"] >= MARGIN and row["gain_errors"] >= ERRORS for row in table):
            reason = f"{min(shares):.1%} to {max(shares):.1%} fewer nats than the best member{told}"
            return Verdict(True, reason, table)
        return Verdict(False, f"the gain is {min(shares):.1%} in the worst run{told}", table)


def _trained(
    state: str, trial: Trial, corpus: Corpus, teaching: Any, folder: Path, tell: Any
) -> Trained:
    """A member, trained on the corpus; `teaching` chooses its checkpoint."""
    config = RunConfig(
        state=state,
        energy="inner" if state == MEMBERS["neural"] else None,
        corpus=corpus.id,
        seed=trial.settings["seed"],
        steps=trial.settings["steps"],
        dropout=0.1,
        batch_size=32,
        context=64,
        min_lr=0.02,
    )
    torch.set_num_threads(config.threads)
    trained = start(config, corpus)
    neural = not isinstance(trained.model, Counted)
    fit(
        trained.model,
        corpus.train,
        teaching,
        config,
        folder=folder if neural else None,
        resume=neural,
        boundary=corpus.tokenizer.boundary,
        watch=None if tell is None else lambda progress: tell(progress.share),
    )
    return trained


def _row(record: TrialRecord) -> dict[str, Any]:
    """The figures of one run: nats of all, the gain on the best member, and what each member adds."""
    row: dict[str, Any] = {"corpus": record["corpus"], "seed": record["seed"]}
    row |= {name: round(record.value(f"nats_{name}"), 4) for name in (*MEMBERS, "fused")}
    best = min(MEMBERS, key=lambda name: record.value(f"nats_{name}"))
    gain = record.value(f"gain_on_{best}")
    row["gain_share"] = gain / record.value(f"nats_{best}")
    row["gain_errors"] = gain / _stderr(record, f"gain_on_{best}")
    for name in MEMBERS:
        added = f"gain_on_without_{name}"
        row[f"{name}_adds"] = round(record.value(added), 4)
        row[f"{name}_adds_errors"] = record.value(added) / _stderr(record, added)
    return row


def _stderr(record: TrialRecord, name: str) -> float:
    found = next(one.stderr for one in record.readings if one.name == name)
    return max(found or 0.0, 1e-9)
