"""Does an energy over features fit high-rank distributions better than the inner product, at equal numbers?

The essay (E2 to E4): d numbers under an inner product describe log-probabilities of rank d only, and a
Hamming distance is not limited so. Fitted directly, without a language model: 128 context vectors and a head
against a random table of full rank, and against the bigrams of a text. Rank alone is not quality, so the
verdict is by KL, with the rank beside it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqstate.claims._fits import at_equal_numbers, bigram_table, fit_table, random_table
from seqstate.claims._statistics import paired
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.record import Reading

FAMILY = (
    "multi_hamming(groups=6)",
    "multi_hamming(groups=4)",
    "hamming",
    "soft_bits(bits=32)",
    "soft_bits(bits=32, form='both')",
    "soft_minimum(groups=4)",
    "minimum(groups=4)",
    "product_of_experts(groups=4)",
    "rbf(groups=4)",
    "rbf_inner(groups=4)",
    "harmonic",
)
PEERS = ("l2", "mos(components=2)", "mos", "sigsoftmax")
RATES = (0.03, 0.1, 0.3)
MARGIN, LEVEL = 0.10, 0.01
SCREENING, FRESH = range(1, 6), range(6, 16)  # seeds of tables


class HighRankTargets(Claim):
    """See the file's docstring."""

    statement = (
        "At equal numbers, a member of the essay's family fits high-rank conditional distributions "
        "better than the inner product."
    )
    criterion = (
        "The member that is best over tables 1 to 5 has a KL lower than the inner product's by 10 % or more "
        "on random tables and on bigrams of every text, over 10 tables not seen before, p < .01 each (paired "
        "t of log KL). 128 contexts x 128 words, the inner product 12 wide, others as wide as gives the same "
        "count of numbers; the learning rate of each is the best of 0.03, 0.1, 0.3 on table 0."
    )
    texts = 1

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        full = effort == "full"
        steps, size, width = (400, 128, 12) if full else (40, 48, 8)
        screening, fresh = (SCREENING, FRESH) if full else (range(1, 3), range(6, 8))
        trials = []
        for target in ("random", *corpora):
            for energy in ("inner", *FAMILY, *PEERS):
                base = {"target": target, "energy": energy, "steps": steps}
                base |= {"size": size, "inner_width": width}
                tuning = [_trial(base, rate, 0) for rate in RATES]
                trials += tuning
                found = [done[trial.key] for trial in tuning if trial.key in done]
                usable = [record for record in found if record.readings]
                if len(found) == len(tuning) and usable:
                    best = min(usable, key=lambda record: record.value("kl"))["lr"]
                    trials += [_trial(base, best, seed) for seed in screening]
        if any(trial.key not in done for trial in trials):
            return trials
        records = [done[trial.key] for trial in trials]
        judged = {"inner", finalist(records)}
        for record in records:
            if record["seed"] == screening[0] and record["energy"] in judged:
                trials += [Trial({**record.settings, "seed": seed}) for seed in fresh]
        return trials

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        wanted = trial.settings
        size, seed = wanted["size"], wanted["seed"]
        if wanted["target"] == "random":
            table, weight = random_table(size, seed)
        else:
            text = corpora[wanted["target"]]
            table, weight = bigram_table(text.train, text.tokenizer.vocab_size, size, seed)
        width = at_equal_numbers(wanted["energy"], size, size, wanted["inner_width"])
        return fit_table(
            table,
            weight,
            wanted["energy"],
            width=width,
            lr=wanted["lr"],
            steps=wanted["steps"],
            seed=seed,
            tell=tell,
        )

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        cells = _cells(records)
        targets = sorted({target for target, _ in cells}, key=lambda name: (name != "random", name))
        rows = [
            _row(target, energy, cells[target, energy], cells.get((target, "inner"), {}))
            for target in targets
            for energy in ("inner", *FAMILY, *PEERS)
            if (target, energy) in cells
        ]
        chosen = finalist(records)
        judged = [row for row in rows if row["energy"] == chosen]
        if len(targets) < 2 or not judged or min(row["fresh"] for row in judged) < len(FRESH):
            return Verdict(
                None, "too few records: wanted random tables and a text, ten fresh each", rows
            )
        found = "; ".join(
            f"{row['target']} KL {row['fresh_against_inner']:+.0%}, p {row['p']:.1g}"
            for row in judged
        )
        wins = all(row["fresh_against_inner"] <= -MARGIN and row["p"] < LEVEL for row in judged)
        told = f"{chosen} against the inner product on fresh tables: {found}"
        return Verdict(wins, told, rows)


Cells = dict[tuple[str, str], dict[int, TrialRecord]]


def _cells(records: Sequence[TrialRecord]) -> Cells:
    """Records by target and energy, then by table; table 0, which tuned, left out."""
    cells: Cells = defaultdict(dict)
    for record in records:
        if record["seed"] > 0 and record.readings:
            cells[record["target"], record["energy"]][record["seed"]] = record
    return cells


def finalist(records: Sequence[TrialRecord]) -> str:
    """The member with the lowest mean log KL over the tables of the screening; "" if there is none."""
    cells = _cells(records)
    targets = {target for target, _ in cells}
    means = {}
    for energy in FAMILY:
        values = [
            math.log(cells[target, energy][seed].value("kl"))
            for target in targets
            for seed in SCREENING
            if seed in cells.get((target, energy), {})
        ]
        if values and all((target, energy) in cells for target in targets):
            means[energy] = sum(values) / len(values)
    return min(means, key=lambda energy: means[energy]) if means else ""


def _trial(base: dict[str, Any], rate: float, seed: int) -> Trial:
    return Trial(
        {**base, "lr": rate, "seed": seed}, seconds=base["steps"] * base["size"] ** 2 * 5e-8
    )


def _mean(records: Sequence[TrialRecord], name: str) -> float | None:
    values = [record.value(name) for record in records]
    return sum(values) / len(values) if values else None


def _row(
    target: str, energy: str, ours: Mapping[int, TrialRecord], inner: Mapping[int, TrialRecord]
) -> dict[str, Any]:
    """Figures of one energy; those against the inner product are ratios of geometric means, less 1."""
    screened = [ours[seed] for seed in SCREENING if seed in ours]
    kl, rank = (_mean(screened, name) for name in ("kl", "rank"))
    row: dict[str, Any] = {"target": target, "energy": energy}
    row |= {"kl": kl, "rank": rank, "tables": len(screened)}
    row |= {"against_inner": None, "fresh": 0, "fresh_against_inner": None, "p": None}
    if energy == "inner":
        return row
    for name, seeds in (("against_inner", SCREENING), ("fresh_against_inner", FRESH)):
        both = [seed for seed in seeds if seed in ours and seed in inner]
        if len(both) >= 2:
            logs = ([math.log(side[s].value("kl")) for s in both] for side in (ours, inner))
            found = paired(*logs)
            row[name] = math.exp(-found.gain) - 1
            if name == "fresh_against_inner":
                row |= {"fresh": len(both), "p": found.p}
    return row
