"""Carry out a claim: run the trials it wants that have no record yet, until it wants no more.

A campaign is a folder with one `<key>.json` a trial; `work/<key>/` holds the checkpoints of what is not
finished. Stop it at any time: the same call goes on, and nothing is run twice.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqstate.core.claim import Claim, Trial, TrialRecord
from seqstate.errors import Diverged, Interrupted
from seqstate.pool import Pool, Task, side_by_side
from seqstate.run import versions


@dataclass
class Status:
    """What a watcher sees: trials done and wanted in this stage, seconds left, and the trial under way."""

    done: int
    wanted: int
    seconds_left: float
    now: str = ""
    share: float = 0.0


Watch = Callable[[Status], None]


def load_records(folder: Path) -> dict[str, TrialRecord]:
    """The records in a folder by key, oldest key order. Raises ValueError for a file that is not one."""
    records = [TrialRecord.load(path) for path in sorted(Path(folder).glob("*.json"))]
    return {record.key: record for record in records}


def missing(
    claim: Claim, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
) -> list[Trial]:
    """The trials wanted now that have no record, each once."""
    wanted = {trial.key: trial for trial in claim.runs(corpora, effort, done)}
    return [trial for key, trial in wanted.items() if key not in done]


def carry_out(
    claim: Claim,
    corpora: Mapping[str, Any],
    folder: Path,
    *,
    effort: str,
    command: str,
    pool: Pool | None = None,
    watch: Watch | None = None,
    note: Callable[[str], None] | None = None,
) -> list[TrialRecord]:
    """Run what is missing, stage after stage; return the records the claim wants.

    corpora: prepared texts by id. pool: runs trials side by side; None: one after another in this process.
    note: told of lost workers. Raises Interrupted on Ctrl-C; the same call goes on from there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        while trials := missing(claim, list(corpora), effort, load_records(folder)):
            _stage(claim, trials, corpora, folder, pool, command, watch, note)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"stopped; what is done is kept in {folder}; the same command goes on from there"
        ) from None
    shutil.rmtree(folder / "work", ignore_errors=True)
    done = load_records(folder)
    wanted = {trial.key for trial in claim.runs(list(corpora), effort, done)}
    return [record for key, record in done.items() if key in wanted]


def _stage(
    claim: Claim,
    trials: Sequence[Trial],
    corpora: Mapping[str, Any],
    folder: Path,
    pool: Pool | None,
    command: str,
    watch: Watch | None,
    note: Callable[[str], None] | None,
) -> None:
    workers = min(pool.slots, len(trials)) if pool else 1
    status = Status(0, len(trials), sum(trial.seconds for trial in trials) / workers)

    def tell(share: float) -> None:
        status.share = share
        if watch:
            watch(status)

    def finished(record: TrialRecord) -> None:
        record.save(folder)
        status.done, status.share = status.done + 1, 0.0
        left = sum(trial.seconds for trial in trials[status.done :])
        status.seconds_left = left / workers
        if watch:
            watch(status)

    place = folder.absolute() / "work"
    if pool is None:
        for trial in trials:
            status.now = str(trial)
            finished(run_trial(corpora, place / trial.key, claim, trial, command, tell))
        return

    def done(record: TrialRecord) -> None:
        status.now = str(Trial(record.settings))
        finished(record)

    tasks = [Task(str(trial), place / trial.key, (claim, trial, command)) for trial in trials]
    side_by_side(run_trial, tasks, corpora, pool=pool, done=done, note=note)


def run_trial(
    corpora: Mapping[str, Any],
    folder: Path,
    claim: Claim,
    trial: Trial,
    command: str,
    tell: Callable[[float], None] | None = None,
) -> TrialRecord:
    """Run one trial in a folder of its own. One that diverges has no readings."""
    cpu = time.process_time()
    try:
        readings = claim.measure(trial, corpora, folder, tell)
    except Diverged:
        readings = []
    shutil.rmtree(folder, ignore_errors=True)
    return TrialRecord(
        settings=trial.settings,
        readings=readings,
        cpu_seconds=round(time.process_time() - cpu, 2),
        versions=versions(),
        command=command,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
