"""Records: what was asked (RunConfig), what was measured (Reading), and both on disk (Run <-> run.json).

Records are data; tables and pages are functions of them. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1  # of run.json; raised when a field changes its meaning
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Reading:
    """One measured number. `count`: how many things it is an average over; `stderr`: of that average."""

    name: str
    value: float
    unit: str
    count: int = 1
    stderr: float | None = None
    tags: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        spread = "" if self.stderr is None else f" +- {self.stderr:.2g}"
        return f"{self.name} {self.value:.4g}{spread} {self.unit} (n={self.count})"


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result; equal configurations give equal weights.

    Exactly one of `steps` and `seconds` is set. Widths, options and part names live in the two specs.
    """

    state: str  # spec, e.g. "lstm(width=256)"
    energy: str | None  # spec; None where the state is a distribution itself
    corpus: str  # id of the token store: text, split and tokeniser
    seed: int = 0
    tie: bool = True  # share the input embedding with the word table
    head_width: int | None = None  # width the energy sees; None: the state's
    dropout: float = 0.0
    steps: int | None = 1000  # optimiser steps
    seconds: float | None = None  # training time instead of steps
    batch_size: int = 16  # rows
    context: int = 128  # tokens a row reads per step
    carry: bool = (
        True  # go on from the previous window's state (truncated BPTT); False: random windows
    )
    accumulate: int = 1  # batches added up per step
    lr: float = 5e-3  # peak learning rate
    min_lr: float = 0.1  # final learning rate, as a share of the peak (cosine)
    warmup: float = 0.05  # share of the training spent rising linearly to the peak
    weight_decay: float = 0.1  # AdamW, on matrices only
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0  # gradient norm
    precision: str = "auto"  # float32, bfloat16, or auto: bfloat16 where the hardware gains by it
    eval_every: int = 0  # steps between validations; 0: twenty over the run
    patience: int = 0  # stop after this many validations without a better one; 0: never
    threads: int = 1

    @property
    def key(self) -> str:
        """A short hash of the whole configuration: the name of its record."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.context * self.accumulate

    def wrong(self) -> tuple[str, str] | None:
        """The first field whose value makes no sense, and why; None if all make some."""
        if (self.steps is None) == (self.seconds is None):
            return "steps", "does not go with seconds: exactly one of the two is set"
        for name in ("steps", "seconds", "batch_size", "context", "accumulate", "threads", "lr"):
            if (value := getattr(self, name)) is not None and not value > 0:
                return name, "is not above 0"
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                return name, "is not in [0, 1)"
        if not 0 <= self.min_lr <= 1:
            return "min_lr", "is not in [0, 1]: it is a share of the peak"
        for name in ("weight_decay", "clip", "eval_every", "patience"):
            if getattr(self, name) < 0:
                return name, "is below 0"
        if self.precision not in PRECISIONS:
            return "precision", f"is none of {', '.join(PRECISIONS)}"
        return None

    def replace(self, **changes: Any) -> RunConfig:
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        return cls(**data)


@dataclass
class Run:
    """The record of one finished run.

    curve: one dict a validation: step, tokens, cpu_seconds, wall_seconds, train_nats, valid_nats,
        learning_rate (a counted model has one point), and how far the head's soft bits act as bits.
    surprise: {"text": [token text, ...], "nats": [float, ...], "seen_from": int} of a held-out passage.
    corpus: id, name, tokenizer, vocab_size, train_tokens, valid_tokens, train_bytes, valid_bytes,
        starvation (share of held-out n-grams never seen in training, by n: {"1": 0.0, ...}).
    """

    config: RunConfig
    readings: list[Reading]
    curve: list[dict[str, Any]]
    sample: str
    surprise: dict[str, Any]
    corpus: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    command: str
    finished: str  # ISO 8601, UTC
    stopped: str = "budget"  # or "patience"
    format: int = FORMAT

    @property
    def key(self) -> str:
        return self.config.key

    @property
    def label(self) -> str:
        """How the run is called in tables: `lstm(width=256) + inner`."""
        return self.config.state + (f" + {self.config.energy}" if self.config.energy else "")

    def reading(self, name: str) -> Reading:
        """The reading of this name. Raises KeyError."""
        for reading in self.readings:
            if reading.name == name:
                return reading
        raise KeyError(name)

    def save(self, folder: Path) -> Path:
        """Write `run.json` into `folder`, atomically."""
        data = dataclasses.asdict(self)
        return write_json(folder / "run.json", {"key": self.key, **data})

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a run.json. Raises ValueError, in one line, if it is not one or of another format."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            data.pop("key", None)
            if data.get("format") != FORMAT:
                raise ValueError(f"format {data.get('format')} (this version reads {FORMAT})")
            data["config"] = RunConfig.from_json(data["config"])
            data["readings"] = [Reading(**reading) for reading in data["readings"]]
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a run record: {error}") from None


def write_atomic(path: Path, data: bytes) -> Path:
    """Write a file so that a crash leaves the old one or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # a full disk is not to stay full of this
        temporary.unlink(missing_ok=True)
        raise
    return path


def replace_folder(made: Path, place: Path) -> Path:
    """Move a folder to `place`; what stands there goes beside `made`, and back if that cannot be."""
    former = made.with_name("former")
    try:
        if place.exists():
            place.rename(former)
        return made.rename(place)
    except BaseException:
        if former.exists() and not place.exists():
            former.rename(place)
        raise


def write_json(path: Path, data: Any) -> Path:
    """Write JSON atomically, readable and diffable."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    return write_atomic(path, text.encode("utf-8") + b"\n")
