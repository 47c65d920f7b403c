"""The figures as plain plotly dictionaries, each with its caption; colours and theme are the page's affair.

A trace says which model it belongs to in `meta.model` and what it is in `meta.role`, and plots.js paints it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqstate.core.record import Run
from seqstate.report import numerals
from seqstate.report.findings import SCORE_NAMES
from seqstate.report.summary import Ladder, Row

CURVE_POINTS = 400  # a run's curve is thinned to this many
EARLY = 0.1  # share of a training whose high losses do not set the frame
HEADROOM = 1.2  # of the range of the ends, left above the worst one


@dataclass(frozen=True)
class Figure:
    """alt: what a reader who cannot see it is told. logs: x can be switched to a logarithm;
    labels: points are labelled where there is room."""

    name: str
    title: str
    caption: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    logs: bool = False
    labels: bool = False


def rounded(value: float) -> float:
    """Six figures: more than a plot shows, and a smaller file."""
    return float(f"{value:.6g}")


def name_of(row: Row) -> str:
    """The label as plotly wants it: it reads a little HTML in texts."""
    return html.escape(row.short, quote=False).replace("%{", "%\u200b{")


def curve(run: Run, axis: str, scale: float) -> tuple[list[float], list[float]]:
    """Validations of a run: x in the unit of `axis`, y in the ladder's score."""
    points = [
        (float(point[axis]), float(point["valid_nats"]) * scale)
        for point in run.curve
        if _number(point.get(axis)) and _number(point.get("valid_nats"))
    ]
    step = max(1, math.ceil(len(points) / CURVE_POINTS))
    points = sorted(points[::-1][::step])
    return [rounded(x) for x, _ in points], [rounded(y) for _, y in points]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def scale_of(row: Row, score: str) -> float | None:
    """What turns nats per token into the score: read from the row's own numbers."""
    if score == "nats_per_token":
        return 1.0
    if score == "bits_per_token":
        return 1 / math.log(2)
    tokens, text = row.mean("bits_per_token"), row.mean("bits_per_byte")
    if tokens and text:
        return text / tokens / math.log(2)
    known = row.runs[0].corpus
    if known.get("valid_tokens") and known.get("valid_bytes"):
        return known["valid_tokens"] / known["valid_bytes"] / math.log(2)
    return None


def learning_curves(
    ladder: Ladder, axis: str, models: dict[str, int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of validation score against `axis`: one line a seed, a marker at its end.

    A counted model has one point; a dotted line carries it across, to be compared with.
    """
    runs = [
        (row, curve(run, axis, scale))
        for row in ladder.rows
        if (scale := scale_of(row, ladder.score)) is not None
        for run in row.runs
    ]
    runs = [(row, line) for row, line in runs if line[0]]
    right = max((line[0][-1] for _, line in runs), default=1.0)
    left = min((x for _, line in runs for x in line[0] if x > 0), default=0.0)
    data = []
    for row, (x, y) in runs:
        if len(x) == 1 and len(runs) > 1:
            data.append(_trace(row, models, "rule", [left, right], [y[0], y[0]]))
        if len(x) > 1:
            data.append(_trace(row, models, "line", x, y))
        data.append(_trace(row, models, "end", x[-1:], y[-1:]))
    return data, {"yaxis": {"range": _settled([line for _, line in runs])}} if runs else {}


def _settled(lines: list[tuple[list[float], list[float]]]) -> list[float]:
    """A frame for the part of the curves that matters: their ends, and what leads to them."""
    ends = [y[-1] for _, y in lines]
    low = min(min(y) for _, y in lines)
    reach = max(max(ends) - low, 0.1 * abs(low))
    later = [y for x, ys in lines for a, y in zip(x, ys, strict=True) if a >= EARLY * x[-1]]
    return frame([low, min(max(later), max(ends) + HEADROOM * reach)])


def _trace(
    row: Row, models: dict[str, int], role: str, x: list, y: list, **more: Any
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name_of(row),
        "x": x,
        "y": y,
        "meta": {"model": models[row.label], "role": role},
        **more,
    }


def frame(values: Sequence[float], share: float = 0.06) -> list[float]:
    """An axis range with a margin."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * share or 1.0
    return [rounded(low - room), rounded(high + room)]


def against(
    ladder: Ladder, reading: str, models: dict[str, int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of the score against a reading on a log axis: one point a row, bars of its spread.

    A row whose reading is zero or missing is not drawn.
    """
    rows = [row for row in ladder.ranked if (row.mean(reading) or 0) > 0]
    if not rows:
        return [], {}
    data = [_front(rows, reading, ladder.score)] if len(front(rows, reading)) > 1 else []
    reach = []
    for row in rows:
        x, stat = rounded(row.stats[reading].mean), row.stats[ladder.score]
        spread = stat.spread or 0.0
        reach += [stat.mean - spread, stat.mean + spread]
        bars = {"error_y": {"type": "data", "array": [rounded(spread)], "visible": spread > 0}}
        data.append(
            _trace(row, models, "point", [x], [rounded(stat.mean)], text=[name_of(row)], **bars)
        )
    decades = frame([math.log10(row.stats[reading].mean) for row in rows], 0.12)
    if decades[1] - decades[0] < 0.5:  # equal sizes are drawn as equal, not as a spread of rounding
        middle = sum(decades) / 2
        decades = [rounded(middle - 0.25), rounded(middle + 0.25)]
    ticks = _byte_ticks(decades) if reading == "state_bytes" else _count_ticks(decades)
    across = {"type": "log", "range": decades, **ticks}
    return data, {"xaxis": across, "yaxis": {"range": frame(reach, 0.1)}}


def _byte_ticks(decades: Sequence[float]) -> dict[str, Any]:
    """At most seven ticks at powers of two, written as KiB and MiB."""
    low, high = (math.log2(10**value) for value in decades)
    step = max(1, math.ceil((high - low) / 6))
    powers = range(math.ceil(low / step) * step, math.floor(high) + 1, step)
    ticks = [2.0**power for power in powers]
    return {"tickvals": ticks, "ticktext": [_round_name(numerals.size(tick)) for tick in ticks]}


def _count_ticks(decades: Sequence[float]) -> dict[str, Any]:
    """At most six ticks: powers of ten, 1-2-5 between them, or even steps where the axis is short."""
    low, high = (10**value for value in decades)
    powers = range(math.floor(decades[0]), math.ceil(decades[1]) + 1)
    for digits in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 6) or 1]
    return {"tickvals": ticks, "ticktext": [_round_name(numerals.short(tick)) for tick in ticks]}


def _round_name(text: str) -> str:
    """`1 M` of `1.00 M`, `1.5 M` of `1.50 M`."""
    number, space, unit = text.partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + unit


def front(rows: Sequence[Row], reading: str) -> list[Row]:
    """The rows no other beats with as little or less of the reading; `rows` are best first."""
    found: list[Row] = []
    for row in rows:
        if not found or row.stats[reading].mean < found[-1].stats[reading].mean:
            found.append(row)
    return found[::-1]


def _front(rows: Sequence[Row], reading: str, score: str) -> dict[str, Any]:
    steps = front(rows, reading)
    return {
        "type": "scatter",
        "x": [rounded(row.stats[reading].mean) for row in steps],
        "y": [rounded(row.stats[score].mean) for row in steps],
        "hoverinfo": "skip",
        "meta": {"role": "front"},
    }


def unit_of(ladder: Ladder) -> str:
    return SCORE_NAMES[ladder.score]


def sized(reading: str, value: float) -> str:
    return numerals.size(value) if reading == "state_bytes" else numerals.short(value)
