"""How far the soft bits of the output layers act as bits, followed through the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from seqstate.core.record import Run
from seqstate.report import numerals
from seqstate.report.figures import Figure, name_of, rounded
from seqstate.report.summary import Ladder, Row

KINDS = ("match", "query", "word")  # of bits; the first a model has is drawn

Line = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Measure:
    """One number of the bits at every validation: its name in the curves, how it is drawn and told."""

    name: str
    title: str
    axis: str
    factor: float
    write: Callable[[float], str]
    about: str
    layout: dict[str, Any]


MEASURES = (
    Measure(
        "bit_saturation",
        "Bits that act as bits",
        "saturated bits, %",
        100.0,
        lambda value: numerals.percent(value / 100),
        "Share of soft bits below 0.1 or above 0.9 at each validation",
        {"rangemode": "tozero"},
    ),
    Measure(
        "bit_temperature",
        "Their temperature",
        "effective temperature",
        1.0,
        numerals.figures,
        "One over the root mean square of what the sigmoids see (below 1 they act, far above it the head is "
        "an inner product)",
        {"type": "log", "dtick": "D2"},
    ),
)


def followed(ladder: Ladder) -> list[Row]:
    """The rows whose curves tell of bits."""
    return [row for row in ladder.rows if any(_lines(row, measure) for measure in MEASURES)]


def figures(rows: list[Row], models: dict[str, int]) -> list[Figure]:
    """One figure a measure that some row has: a line a seed against the text read, a marker at its end."""
    made = []
    for measure in MEASURES:
        known = [row for row in rows if _lines(row, measure)]
        if not known:
            continue
        data: list[dict[str, Any]] = []
        for row in known:
            for x, y in _lines(row, measure):
                data += [
                    _trace(row, models, "line", x, y),
                    _trace(row, models, "end", x[-1:], y[-1:]),
                ]
        layout = {
            "xaxis": {"title": {"text": "training tokens"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": measure.axis}, **measure.layout},
        }
        alt = f"Line plot of the {measure.axis} against training tokens, one line a seed."
        told = caption(known, measure)
        made.append(Figure(measure.name, measure.title, told, alt, data, layout))
    return made


def caption(rows: list[Row], measure: Measure) -> str:
    """One sentence: what is drawn, and where the first and the last end."""
    ends = [(fmean(y[-1] for _, y in _lines(row, measure)), row) for row in rows]
    (low, least), (high, most) = (f(ends, key=lambda end: end[0]) for f in (min, max))
    if least is most:
        return f"{measure.about}: {most.short} ends at {measure.write(high)}."
    return (
        f"{measure.about}: at the end between {measure.write(low)} ({least.short}) and "
        f"{measure.write(high)} ({most.short})."
    )


def _lines(row: Row, measure: Measure) -> list[Line]:
    """(training tokens, values) of every run of the row that has them."""
    return [line for run in row.runs if (line := _line(run, measure))[0]]


def _line(run: Run, measure: Measure) -> Line:
    for kind in KINDS:
        name = f"{kind}_{measure.name}"
        points = [
            (p["tokens"], p[name]) for p in run.curve if _number(p.get("tokens"), p.get(name))
        ]
        if points:
            x, y = zip(*points, strict=True)
            return [rounded(value) for value in x], [rounded(measure.factor * value) for value in y]
    return [], []


def _number(*values: Any) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _trace(row: Row, models: dict[str, int], role: str, x: list, y: list) -> dict[str, Any]:
    meta = {"model": models[row.label], "role": role}
    return {"type": "scatter", "name": name_of(row), "x": x, "y": y, "meta": meta}
