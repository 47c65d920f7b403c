"""From runs to rows: seeds become a mean and a spread, corpora become ladders that are never mixed.

runs -> ladders(runs): one Ladder a corpus -> its rows, best first: runs that differ only in `seed`
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seqstate.core.record import Reading, Run, RunConfig
from seqstate.core.spec import Spec, parse

SCORES = (
    "bits_per_byte",
    "bits_per_token",
    "nats_per_token",
)  # the first that is there ranks the rows
STANDARD = (  # readings every run has; all others are instruments
    *SCORES,
    "perplexity",
    "parameters",
    "state_bytes",
    "train_tokens_per_second",
    "generate_tokens_per_second",
    "cpu_seconds",
    "train_tokens",
)


@dataclass(frozen=True)
class Stat:
    """One reading of a row: its values over seeds. `stderr`: mean standard error within a run."""

    name: str
    unit: str
    values: tuple[float, ...]
    stderr: float | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.values) if self.count > 1 else None


@dataclass(frozen=True)
class Row:
    """Runs that differ only in their seed. `short`: the label without options nobody needs here."""

    runs: tuple[Run, ...]
    label: str
    short: str
    stats: dict[str, Stat]
    instruments: tuple[Stat, ...]

    @property
    def config(self) -> RunConfig:
        return self.runs[0].config

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config.seed for run in self.runs)

    @cached_property
    def counted(self) -> bool:
        """A table of counts: nothing is trained, so no seed takes part.

        Read from the `counted` tag of its parameters; a record without one is counted if it has no
        energy and at most one validation.
        """
        for reading in self.runs[0].readings:
            if reading.name == "parameters" and "counted" in reading.tags:
                return bool(reading.tags["counted"])
        return self.config.energy is None and all(len(run.curve) <= 1 for run in self.runs)

    def mean(self, name: str) -> float | None:
        return self.stats[name].mean if name in self.stats else None


@dataclass(frozen=True)
class Ladder:
    """The rows of one corpus, best first; rows without a score come last."""

    corpus: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for row in self.rows for run in row.runs]

    @property
    def score(self) -> str:
        """The reading that ranks: bits per byte where known."""
        known = [name for name in SCORES if any(name in row.stats for row in self.rows)]
        return known[0] if known else SCORES[0]

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if self.score in row.stats]

    @property
    def trained(self) -> list[Row]:
        return [row for row in self.rows if not row.counted]

    @property
    def name(self) -> str:
        return str(self.corpus.get("name") or self.corpus.get("id") or "unnamed corpus")

    def varying(self) -> dict[str, list[Any]]:
        """Settings besides state, energy and seed in which the trained rows differ, with their values."""
        found = {}
        for name in RunConfig.__dataclass_fields__:
            values = [getattr(row.config, name) for row in self.trained]
            if (
                name not in ("state", "energy", "seed", "corpus")
                and len(set(map(repr, values))) > 1
            ):
                found[name] = values
        return found


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs without repeats: of equal keys the one that finished last, in the order of first sight."""
    newest: dict[str, Run] = {}
    for run in runs:
        if run.key not in newest or run.finished > newest[run.key].finished:
            newest[run.key] = run
    return list(newest.values())


def ladders(runs: Sequence[Run]) -> list[Ladder]:
    """One ladder a corpus, by corpus name; the order of the runs does not matter.

    Raises ValueError if there is no run.
    """
    if not runs:
        raise ValueError("no runs to report; give at least one")
    corpora: dict[str, list[Run]] = {}
    for run in sorted(distinct(runs), key=lambda run: (run.label, run.config.seed, run.key)):
        corpora.setdefault(run.config.corpus, []).append(run)
    found = [_ladder(members) for members in corpora.values()]
    return sorted(found, key=lambda ladder: (ladder.name, ladder.runs[0].config.corpus))


def _ladder(runs: list[Run]) -> Ladder:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.replace(seed=0).key, []).append(run)
    labels = _labels([members[0].config for members in groups.values()])
    rows = [_row(members, *label) for members, label in zip(groups.values(), labels, strict=True)]
    ladder = Ladder(_corpus(runs), tuple(rows))

    def place(row: Row) -> tuple[float, str]:
        mean = row.mean(ladder.score)
        return (math.inf if mean is None else mean, row.label)

    return Ladder(ladder.corpus, tuple(sorted(rows, key=place)))


def _corpus(runs: list[Run]) -> dict[str, Any]:
    """What the records say of their corpus, put together: a field one lacks may be in another."""
    known: dict[str, Any] = {"id": runs[0].config.corpus}
    for run in runs:
        for name, value in run.corpus.items():
            if known.get(name) in (None, "", {}):
                known[name] = value
    return known


def _row(runs: list[Run], label: str, short: str) -> Row:
    standard: dict[str, list[Reading]] = {}
    other: dict[tuple[str, str, str], list[Reading]] = {}
    for run in runs:
        seen = set()
        for reading in run.readings:
            if not math.isfinite(reading.value):
                continue
            plain = reading.name in STANDARD and not set(reading.tags) - {"counted"}
            if plain and reading.name not in seen:
                seen.add(reading.name)
                standard.setdefault(reading.name, []).append(reading)
            else:
                reading = dataclasses.replace(reading, tags=_told_apart(reading.tags))
                tags = json.dumps(reading.tags, sort_keys=True, default=str)
                other.setdefault((reading.name, tags, reading.unit), []).append(reading)
    stats = {name: _stat(readings) for name, readings in standard.items()}
    return Row(tuple(runs), label, short, stats, tuple(_stat(found) for found in other.values()))


def _told_apart(tags: dict[str, Any]) -> dict[str, Any]:
    """The tags that make two readings of one name different: no lists, and nothing a seed may change."""
    return {
        name: value
        for name, value in tags.items()
        if isinstance(value, str | int | float) and name not in ("note", "found")
    }


def _stat(readings: list[Reading]) -> Stat:
    first = readings[0]
    errors = [reading.stderr for reading in readings if reading.stderr is not None]
    return Stat(
        first.name,
        first.unit,
        tuple(reading.value for reading in readings),
        statistics.fmean(errors) if errors else None,
        tuple((str(key), str(value)) for key, value in sorted(first.tags.items())),
    )


def _labels(configs: list[RunConfig]) -> list[tuple[str, str]]:
    """(full, short) for every configuration: both are unique, short drops what is not needed for that."""
    full = [_pair(config.state, config.energy) for config in configs]
    settings = [_settings(config, configs) for config in configs]
    short = [_short(config, configs) for config in configs]
    return [
        (a + settings[i] if full.count(a) > 1 else a, b + settings[i] if short.count(b) > 1 else b)
        for i, (a, b) in enumerate(zip(full, short, strict=True))
    ]


def _pair(state: str, energy: str | None) -> str:
    return state + (f" + {energy}" if energy else "")


def _short(config: RunConfig, configs: list[RunConfig]) -> str:
    """The two names, with the options that tell this configuration from its namesakes (width last)."""
    mine = [_read(config.state), _read(config.energy)]
    pairs = [[_read(other.state), _read(other.energy)] for other in configs]
    same = [pair for pair in pairs if _names(pair) == _names(mine)]
    wanted = len({_told(pair, None) for pair in same})
    for kept in ((), _differing(same, without="width"), _differing(same)):
        for bare in (True, False):
            if len({_told(pair, kept, bare) for pair in same}) == wanted:
                return _told(mine, kept, bare)
    return _told(mine, None)


def _read(spec: str | None) -> Spec | None:
    """The spec; one that cannot be read is a name without options."""
    if spec is None:
        return None
    try:
        return parse(spec)
    except ValueError:
        return Spec(spec)


def _names(pair: list[Spec | None]) -> tuple[str, ...]:
    return tuple(spec.name for spec in pair if spec)


def _differing(pairs: list[list[Spec | None]], without: str = "") -> tuple[tuple[int, str], ...]:
    """(part, option) whose values are not all alike."""
    options = {
        (i, name) for pair in pairs for i, spec in enumerate(pair) if spec for name in spec.options
    }
    return tuple(
        (i, name)
        for i, name in sorted(options)
        if name != without
        and len({repr(pair[i].options.get(name)) for pair in pairs if pair[i]}) > 1
    )


def _told(
    pair: list[Spec | None], kept: tuple[tuple[int, str], ...] | None, bare: bool = False
) -> str:
    """The pair with only these options, all for None; `bare`: parts among their values by name only."""
    parts = []
    for i, spec in enumerate(pair):
        if spec is None:
            continue
        options = [
            f"{name}={_bare(value) if bare else repr(value)}"
            for name, value in sorted(spec.options.items())
            if kept is None or (i, name) in kept
        ]
        parts.append(spec.name.rpartition(".")[2] + (f"({', '.join(options)})" if options else ""))
    return " + ".join(parts)


def _bare(value: Any) -> str:
    """`multi_hamming` of 'multi_hamming(groups=8)'; other values as they are written."""
    if not isinstance(value, str):
        return repr(value)
    found = _read(value)
    return found.name if found and found.name.isidentifier() else repr(value)


def _settings(config: RunConfig, configs: list[RunConfig]) -> str:
    """The settings in which this configuration differs from its namesakes: `, lr=0.001`."""
    label = _pair(config.state, config.energy)
    same = [other for other in configs if _pair(other.state, other.energy) == label]
    names = [
        name
        for name in RunConfig.__dataclass_fields__
        if name != "seed" and len({repr(getattr(other, name)) for other in same}) > 1
    ]
    return "".join(f", {name}={getattr(config, name)}" for name in names)
