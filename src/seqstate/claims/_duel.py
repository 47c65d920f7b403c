"""Two models met at equal processor time, each with its own best learning rate, and their verdict's figures.

Not a claim (its name starts with an underscore). Stage `tune`: every rate for each, on seed 0. Stage `final`:
seeds that chose nothing; `ours` takes the wanted steps and `theirs` as many as take the same processor time,
by the seconds a step took in the tuning runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqstate.core.claim import Trial, TrialRecord

SIDES = ("ours", "theirs")


def duel(
    sides: Mapping[str, dict[str, Any]],
    done: Mapping[str, TrialRecord],
    *,
    rates: Sequence[float],
    tuning_steps: int,
    steps: int,
    seeds: int,
    seconds: float,
) -> list[Trial]:
    """The trials wanted so far. sides: settings of `ours` and `theirs`; seconds: of one step, about."""
    tuning = {
        side: [_trial(sides[side], side, "tune", rate, tuning_steps, 0, seconds) for rate in rates]
        for side in SIDES
    }
    trials = [trial for side in SIDES for trial in tuning[side]]
    if any(trial.key not in done for trial in trials):
        return trials
    found = {side: [done[trial.key] for trial in tuning[side]] for side in SIDES}
    found = {side: [record for record in found[side] if record.readings] for side in SIDES}
    if not all(found.values()):
        return trials
    longer = _seconds_a_step(found["ours"]) / _seconds_a_step(found["theirs"])
    length = {"ours": steps, "theirs": max(1, round(steps * longer))}
    for seed in range(1, seeds + 1):
        for side in SIDES:
            rate = min(found[side], key=lambda record: record.value("loss"))["lr"]
            trials.append(_trial(sides[side], side, "final", rate, length[side], seed, seconds))
    return trials


def finals(records: Sequence[TrialRecord]) -> dict[str, dict[int, TrialRecord]]:
    """The final records of each side by seed."""
    found: dict[str, dict[int, TrialRecord]] = {side: {} for side in SIDES}
    for record in records:
        if record["stage"] == "final" and record.readings:
            found[record["side"]][record["seed"]] = record
    return found


def _trial(given, side: str, stage: str, rate: float, steps: int, seed: int, seconds: float):
    told = {"side": side, "stage": stage, "lr": rate, "steps": steps, "seed": seed}
    return Trial({**given, **told}, seconds=steps * seconds)


def _seconds_a_step(records: Sequence[TrialRecord]) -> float:
    """The least of the runs': what other work on the machine adds is left out."""
    return min(record.value("cpu_seconds") / record["steps"] for record in records)
