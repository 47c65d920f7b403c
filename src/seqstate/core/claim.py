"""Contract of a Claim: a question, a criterion written before the runs, trials, and a verdict on records.

A claim is asked again and again which trials it wants, given the records there are, so a later stage (the
finalists' seeds) may depend on an earlier one (the learning rates). What it measures goes into small records,
one a trial, named by the hash of the trial's settings; the verdict is a pure function of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqstate.core.record import Reading, write_json

FORMAT = 1  # of a trial's record; raised when a field changes its meaning
EFFORTS = ("small", "full")


@dataclass(frozen=True)
class Trial:
    """One thing to run. settings: plain JSON values that decide its result; a text is named by its id.

    seconds: about how long it takes on one core, for the estimate that is shown beforehand.
    """

    settings: dict[str, Any]
    seconds: float = field(default=1.0, compare=False)

    @property
    def key(self) -> str:
        """A short hash of the settings: the name of the record."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


@dataclass
class TrialRecord:
    """What one trial measured. An empty list of readings says that it diverged."""

    settings: dict[str, Any]
    readings: list[Reading]
    cpu_seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    finished: str = ""  # ISO 8601, UTC
    format: int = FORMAT

    @property
    def key(self) -> str:
        return Trial(self.settings).key

    def __getitem__(self, setting: str) -> Any:
        """A setting, or None where the trial has none of that name."""
        return self.settings.get(setting)

    def value(self, name: str) -> float:
        """The value of a reading. Raises KeyError."""
        for reading in self.readings:
            if reading.name == name:
                return reading.value
        raise KeyError(name)

    def save(self, folder: Path) -> Path:
        """Write `<key>.json` into `folder`, atomically."""
        return write_json(folder / f"{self.key}.json", dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> TrialRecord:
        """Read a record. Raises ValueError, in one line, if it is not one or of another format."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data.get("format") != FORMAT:
                raise ValueError(f"format {data.get('format')} (this version reads {FORMAT})")
            data["readings"] = [Reading(**reading) for reading in data["readings"]]
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a record of a trial: {error}") from None


@dataclass(frozen=True)
class Verdict:
    """holds: True or False, None while the records do not decide. reason: one line. table: the figures."""

    holds: bool | None
    reason: str
    table: list[dict[str, Any]] = field(default_factory=list)

    @property
    def word(self) -> str:
        return {True: "holds", False: "does not hold", None: "undecided"}[self.holds]


class Claim(ABC):
    """A question of the essay. Constructed without arguments.

    statement: what would be true. criterion: what figures would show it, written before the runs.
    texts: how many corpora it wants at least (0: it makes its own data). tokenizer: how they are cut.
    """

    statement: str
    criterion: str
    texts: int = 0
    tokenizer: str = "word"

    @abstractmethod
    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        """All trials wanted so far. corpora: ids. effort: small or full. done: records by key.

        Asked again whenever all of them have a record, until it wants no more.
        """

    @abstractmethod
    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        """Run one trial. corpora: by id. folder: for checkpoints, dropped afterwards.

        tell: called with the share done, in [0, 1]. Raises errors.Diverged, errors.Interrupted.
        """

    @abstractmethod
    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        """Judge the records by the criterion, whatever of them there are."""
