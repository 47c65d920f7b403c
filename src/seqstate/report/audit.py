"""The audit of output layers that `seqstate audit MODEL --record` left in the records: spectra, a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from seqstate.core.record import Reading
from seqstate.report import numerals
from seqstate.report.figures import Figure, name_of, rounded
from seqstate.report.summary import Ladder, Row

FLOOR = 1e-17  # singular values are drawn from here up to the largest, 1


@dataclass(frozen=True)
class Fact:
    """A column of the audit's table. names: of the readings, the first a model has counts; the others are
    bounds of it and are written with `sign` before them."""

    names: tuple[str, ...]
    head: str
    write: Callable[[float, int], str]
    about: str
    sign: str = ""

    def text(self, row: Row) -> str:
        for name in self.names:
            found = _readings(row, name)
            if found:
                sign = "" if name == self.names[0] else self.sign
                return sign + self.write(fmean(one.value for one in found), found[0].count)
        return numerals.MISSING


def _whole(value: float, count: int) -> str:
    return numerals.figures(value) if value % 1 else numerals.whole(value)


def _share(value: float, count: int) -> str:
    return numerals.percent(value)


def _of(value: float, count: int) -> str:
    return f"{_whole(round(value * count, 1), count)} of {numerals.whole(count)}"


FACTS = (
    Fact(
        ("rank_bound",),
        "declared\nrank",
        _whole,
        "the largest the head can have (–: not limited)",
    ),
    Fact(("logit_rank",), "measured\nrank", _whole, "singular values above rounding noise"),
    Fact(
        ("eps_rank_mass",),
        "ε-rank,\nmass",
        _whole,
        "fewest dimensions that keep all but ε of the squared mass (ε = 0.01 unless set)",
    ),
    Fact(
        ("eps_rank_kl",),
        "ε-rank,\nnats",
        _whole,
        "dimensions without which more than ε nats a context are lost (ε = 0.01 unless set)",
    ),
    Fact(
        ("top_m_witnessed",),
        "top-m\nsets",
        _share,
        "sets of m likely words that gradient ascent puts on top, a lower bound",
    ),
    Fact(
        ("top_m_distributions",),
        "top-m\nmixtures",
        _share,
        "sets of m likely words that can share all probability in any proportion (linear heads)",
    ),
    Fact(
        ("unargmaxable", "argmax_unwitnessed"),
        "never\nlikeliest",
        _of,
        "words that no hidden vector makes the likeliest, proved, or (≤) not found by ascent",
        "≤ ",
    ),
    Fact(
        ("gradient_lost",),
        "gradient\nlost",
        _share,
        "share of the squared logit gradient that does not reach the hidden vector",
    ),
)
NAMES = frozenset(name for fact in FACTS for name in fact.names)


def audited(ladder: Ladder) -> list[Row]:
    """The rows whose records hold a spectrum."""
    return [row for row in ladder.rows if spectrum(row)]


def spectrum(row: Row) -> list[float]:
    """Singular values of the first run that has them, the largest 1."""
    for reading in _readings(row, "logit_rank"):
        values = reading.tags.get("spectrum")
        if isinstance(values, list) and values and all(map(_number, values)) and values[0] > 0:
            return [value / values[0] for value in values]
    return []


def figure(rows: list[Row], models: dict[str, int]) -> Figure:
    """The spectra on a logarithmic axis; a dotted line down at each declared rank within sight."""
    data: list[dict[str, Any]] = []
    widest = max(len(spectrum(row)) for row in rows)
    for row in rows:
        values = [value for value in spectrum(row) if value >= FLOOR]
        places = list(range(1, len(values) + 1))
        data.append(_trace(row, models, "line", places, [float(f"{v:.3g}") for v in values]))
        bound = _mean(row, "rank_bound")
        if bound is not None and bound <= widest:
            data.append(_trace(row, models, "rule", [bound, bound], [FLOOR, 1.0]))
    layout = {
        "xaxis": {"title": {"text": "dimension"}, "range": [0, rounded(widest * 1.02)]},
        "yaxis": {
            "title": {"text": "singular value"},
            "type": "log",
            "range": [-17.2, 0.4],
            "dtick": 4,
            "exponentformat": "power",
        },
    }
    alt = "Line plot of the singular values of the log-probabilities, largest first, one line a model."
    return Figure("spectrum", "Spectrum of the log-probabilities", caption(rows), alt, data, layout)


def caption(rows: list[Row]) -> str:
    """One sentence: how far the spectra reach, and what the dotted lines are."""
    ranks = [(mean, row.short) for row in rows if (mean := _mean(row, "logit_rank")) is not None]
    (low, first), (high, last) = min(ranks), max(ranks)
    contexts = _readings(rows[0], "logit_rank")[0].count
    found = (
        f"Singular values of the centred log-probabilities at {numerals.plural(contexts, 'context')}, "
        "the largest set to 1"
    )
    reach = (
        f"the rank of {first} is {_whole(low, 0)}"
        if len(ranks) == 1
        else f"the ranks go from {_whole(low, 0)} ({first}) to {_whole(high, 0)} ({last})"
    )
    bounds = [_mean(row, "rank_bound") for row in rows]
    dotted = (
        "; dotted, the rank a head declares" if any(bound is not None for bound in bounds) else ""
    )
    return f"{found}: {reach}{dotted}."


def lines(rows: list[Row], models: dict[str, int]) -> list[dict[str, Any]]:
    """The table: a line a model."""
    return [
        {"row": row, "model": models[row.label], "cells": [fact.text(row) for fact in FACTS]}
        for row in rows
    ]


def _readings(row: Row, name: str) -> list[Reading]:
    return [
        one for run in row.runs for one in run.readings if one.name == name and _number(one.value)
    ]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean(row: Row, name: str) -> float | None:
    found = _readings(row, name)
    return fmean(one.value for one in found) if found else None


def _trace(row: Row, models: dict[str, int], role: str, x: list, y: list) -> dict[str, Any]:
    meta = {"model": models[row.label], "role": role}
    return {"type": "scatter", "name": name_of(row), "x": x, "y": y, "meta": meta}
