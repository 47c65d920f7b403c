"""What each figure shows, in one sentence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from seqstate.report import numerals
from seqstate.report.figures import curve, front, scale_of, sized, unit_of
from seqstate.report.summary import Ladder, Row


def curve_caption(ladder: Ladder, axis: str) -> str:
    return _text_read(ladder) if axis == "tokens" else _time_spent(ladder)


Line = tuple[list[float], list[float]]


def _lines(ladder: Ladder, axis: str, counted: bool = False) -> list[tuple[str, list[Line]]]:
    """(name, the curves of its seeds) of the trained or the counted rows whose every seed has one."""
    found = []
    for row in ladder.rows:
        scale = scale_of(row, ladder.score)
        if row.counted == counted and scale is not None:
            found.append((row.short, [curve(run, axis, scale) for run in row.runs]))
    return [(name, lines) for name, lines in found if all(x for x, _ in lines)]


def _end(lines: list[Line]) -> float:
    """Mean over seeds of the last validation."""
    return fmean(y[-1] for _, y in lines)


def _text_read(ladder: Ladder) -> str:
    """Where the curves end."""
    known = _lines(ladder, "tokens")
    if not known:
        return "The score of each validation."
    read = numerals.short(max(x[-1] for _, lines in known for x, _ in lines))
    ends, unit = [(_end(lines), name) for name, lines in known], unit_of(ladder)
    (best, first), (worst, last) = min(ends), max(ends)
    if len(ends) == 1:
        return f"After {read} tokens {first} stands at {numerals.bits(best)} {unit}."
    counted = _lines(ladder, "tokens", counted=True)
    also = "".join(f"; dotted, {name} at {numerals.bits(_end(lines))}" for name, lines in counted)
    return (
        f"After {read} tokens the last validations lie between {numerals.bits(best)} ({first}) "
        f"and {numerals.bits(worst)} {unit} ({last}){also}."
    )


def _mean(row: Row, ladder: Ladder) -> str:
    return numerals.bits(row.stats[ladder.score].mean)


def _time_spent(ladder: Ladder) -> str:
    """How long the quickest and the slowest take to a level that all trained rows reach."""
    known = _lines(ladder, "cpu_seconds")
    if len(known) < 2:
        return "The same validations against the CPU time the training had taken."
    level = max(min(y) for _, lines in known for _, y in lines)
    times = [(fmean(reached(line, level) for line in lines), name) for name, lines in known]
    (quick, first), (slow, last) = min(times), max(times)
    return (
        f"To {numerals.bits(level)} {unit_of(ladder)}, a level all trained models reach, {first} takes "
        f"{numerals.duration(quick)} of CPU time and {last} {numerals.duration(slow)}."
    )


def reached(line: Line, level: float) -> float:
    """Where a curve first comes down to `level`, which it does."""
    return next(x for x, y in zip(*line, strict=True) if y <= level)


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
    from_half = (
        f", and from n = {half} on it is more than half" if half not in (None, order) else ""
    )
    return f"{found}{from_half}: a table of counts has no answer there of its own."
