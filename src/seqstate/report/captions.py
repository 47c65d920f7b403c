"""What each figure shows, in one sentence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from seqstate.report import numerals
from seqstate.report.figures import front, reach_time, scale_of, sized, unit_of
from seqstate.report.summary import Ladder, Row


def curve_caption(ladder: Ladder, axis: str) -> str:
    return _text_read(ladder) if axis == "tokens" else _time_spent(ladder)


def _text_read(ladder: Ladder) -> str:
    """Where the curves end."""
    ends = [(row, row.stats[ladder.score].mean) for row in ladder.ranked if not row.counted]
    if not ends:
        return "Held-out score after each validation."
    (first, best), (last, worst) = ends[0], ends[-1]
    read = max(
        float(run.curve[-1].get("tokens", 0)) for row, _ in ends for run in row.runs if run.curve
    )
    unit = unit_of(ladder)
    if first is last:
        return f"After {numerals.short(read)} tokens {first.short} stands at {numerals.bits(best)} {unit}."
    counted = [row for row in ladder.ranked if row.counted]
    also = f"; dotted, {counted[0].short} at {_mean(counted[0], ladder)}" if counted else ""
    return (
        f"After {numerals.short(read)} tokens the trained models end between {numerals.bits(best)} ({first.short}) "
        f"and {numerals.bits(worst)} {unit} ({last.short}){also}."
    )


def _mean(row: Row, ladder: Ladder) -> str:
    return numerals.bits(row.stats[ladder.score].mean)


def _time_spent(ladder: Ladder) -> str:
    """How long the quickest and the slowest take to a level that all trained rows reach."""
    trained = [
        row for row in ladder.ranked if not row.counted and all(run.curve for run in row.runs)
    ]
    level = max((_lowest(row, ladder) for row in trained), default=None)
    times = []
    for row in trained:
        scale = scale_of(row, ladder.score)
        if scale is None or level is None:
            continue
        reached = [reach_time(run, level, "cpu_seconds", scale) for run in row.runs]
        known = [time for time in reached if time is not None]
        if len(known) == len(reached):
            times.append((fmean(known), row.short))
    if len(times) < 2:
        return "The same validations against the CPU time the training had taken."
    (quick, first), (slow, last) = min(times), max(times)
    return (
        f"To {numerals.bits(level or 0)} {unit_of(ladder)}, a level all trained models reach, {first} takes "
        f"{numerals.duration(quick)} of CPU time and {last} {numerals.duration(slow)}."
    )


def _lowest(row: Row, ladder: Ladder) -> float:
    """The worst of its seeds' best validations."""
    scale = scale_of(row, ladder.score) or 1.0
    return max(min(float(point["valid_nats"]) for point in run.curve) * scale for run in row.runs)


def memory_caption(ladder: Ladder) -> str:
    return _caption(ladder, "state_bytes", "of state") + _joined(
        ladder, "state_bytes", "less memory"
    )


def size_caption(ladder: Ladder) -> str:
    return _caption(ladder, "parameters", "parameters") + _bars(ladder)


def _caption(ladder: Ladder, reading: str, noun: str) -> str:
    rows = [row for row in ladder.ranked if (row.mean(reading) or 0) > 0]
    least = min(rows, key=lambda row: row.stats[reading].mean)
    most = max(rows, key=lambda row: row.stats[reading].mean)
    best, unit = rows[0], unit_of(ladder)
    sizes = {id(row): sized(reading, row.stats[reading].mean) for row in (best, least, most)}
    found = [f"{best.short} has {_mean(best, ladder)} {unit} with {sizes[id(best)]} {noun}"]
    if least is not best:
        found.append(f"the least, {sizes[id(least)]}, gives {_mean(least, ladder)} ({least.short})")
    if most is not best and most is not least:
        found.append(f"the most, {sizes[id(most)]}, gives {_mean(most, ladder)} ({most.short})")
    return "; ".join(found)


def _joined(ladder: Ladder, reading: str, less: str) -> str:
    rows = [row for row in ladder.ranked if (row.mean(reading) or 0) > 0]
    steps = front(rows, reading)
    zero = [row.short for row in ladder.ranked if row.mean(reading) == 0]
    line = (
        f"; the grey line joins the {numerals.word(len(steps))} that none beats with {less}"
        if len(steps) > 1
        else ""
    )
    return line + (f"; not drawn, for want of any: {numerals.listed(zero)}." if zero else ".")


def _bars(ladder: Ladder) -> str:
    spreads = [row.stats[ladder.score].spread for row in ladder.ranked]
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return "; one seed each, so there are no error bars."
    return f"; bars are one standard deviation over seeds, at most {numerals.gap(max(known))}."


def starvation_caption(shares: Sequence[tuple[int, float]]) -> str:
    """shares: (n, share of held-out n-grams never seen in training)."""
    order, share = shares[-1]
    found = (
        f"{numerals.percent(share)} of the held-out {order}-grams never occur in the training text"
    )
    half = next((n for n, s in shares if s > 0.5), None)
    if half is not None and half != order:
        return f"{found}, and from n = {half} on it is more than half: a table of counts has no answer there of its own."
    return f"{found}: a table of counts has no answer there of its own."
