"""The sections of the page: one function each, in reading order; one returns None where it has no data.

A new section is a function here, its place in SECTIONS, and a macro of its name in sections.html.j2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqstate.report import audit as audits
from seqstate.report import bits, figures, numerals
from seqstate.report.asked import equal_terms, facts
from seqstate.report.captions import curve_caption, memory_caption, size_caption, starvation_caption
from seqstate.report.columns import COLUMNS
from seqstate.report.contrast import contrast
from seqstate.report.figures import Figure
from seqstate.report.findings import SCORE_NAMES, deviations
from seqstate.report.palette import look
from seqstate.report.passage import EDGES, SHIFTS, passage
from seqstate.report.summary import Ladder, Row
from seqstate.report.tables import BEST, cell, mark, scatter


@dataclass(frozen=True)
class Section:
    """name: of the macro and, with the ladder's suffix, the anchor. figures: plots the page draws."""

    name: str
    title: str
    content: dict[str, Any]
    figures: tuple[Figure, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


Models = dict[str, int]  # label -> index of its look


def asked(ladder: Ladder, models: Models) -> Section:
    return Section(
        "asked", "What was asked", {"facts": facts(ladder), "terms": equal_terms(ladder)}
    )


def ladder_table(ladder: Ladder, models: Models) -> Section:
    columns = [column for column in COLUMNS if any(column.name in row.stats for row in ladder.rows)]
    columns.sort(key=lambda column: column.name != ladder.score)  # the score first: narrow screens
    off = deviations(ladder) if len(ladder.trained) > 1 else {}
    rows = [
        {
            "row": row,
            "model": models[row.label],
            "mark": mark(row, ladder),
            "cells": [
                {"text": cell(row, column), "value": row.mean(column.name), "name": column.name}
                for column in columns
            ],
            "spread": scatter(row, ladder.score),
            "behind": _behind(row, ladder),
            "off": numerals.signed(numerals.percent(off[row.label]), off[row.label])
            if row.label in off
            else "",
        }
        for row in ladder.rows
    ]
    content = {
        "columns": columns,
        "rows": rows,
        "score": ladder.score,
        "best": BEST,
        "marks": {entry["mark"] for entry in rows},
        "unit": SCORE_NAMES[ladder.score],
        "strip": _strip(ladder),
        "matched": any(entry["off"] for entry in rows),
        "seeded": any(row.stats[ladder.score].count > 1 for row in ladder.ranked),
    }
    return Section("ladder", "The ladder", content)


def _behind(row: Row, ladder: Ladder) -> dict[str, Any]:
    """How far a row is behind the best."""
    ranked = ladder.ranked
    if row not in ranked or row is ranked[0]:
        return {"text": "", "value": 0.0 if row in ranked else None}
    found = contrast(ranked[0], row, ladder.score)
    margin = "" if found.margin is None else f" ± {numerals.gap(found.margin)} (95 % interval)"
    return {
        "text": "+" + numerals.bits(found.gap),
        "value": found.gap,
        "about": f"{numerals.gap(found.gap)}{margin}",
    }


def _strip(ladder: Ladder) -> dict[str, dict[str, Any]]:
    """For every label: places in [0, 1] of its mean and its seeds on one scale, for the dots in the table."""
    values = [value for row in ladder.ranked for value in row.stats[ladder.score].values]
    if not values:
        return {}
    low, reach = min(values), (max(values) - min(values)) or 1.0
    return {
        row.label: {
            "mean": round((row.stats[ladder.score].mean - low) / reach, 4),
            "seeds": [round((value - low) / reach, 4) for value in row.stats[ladder.score].values],
        }
        for row in ladder.ranked
    }


def curves(ladder: Ladder, models: Models) -> Section | None:
    made = []
    for axis, title, unit in (
        ("tokens", "Against text read", "training tokens"),
        ("cpu_seconds", "Against CPU time", "CPU seconds"),
    ):
        data, layout = figures.learning_curves(ladder, axis, models)
        if not any(trace["meta"]["role"] == "line" for trace in data):
            continue
        layout["xaxis"] = {"title": {"text": unit}, "rangemode": "tozero"}
        layout["yaxis"]["title"] = {"text": f"validation {figures.unit_of(ladder)}"}
        alt = f"Line plot of validation {figures.unit_of(ladder)} against {unit}, one line a model and seed."
        caption = curve_caption(ladder, axis)
        made.append(Figure(f"curve-{axis}", title, caption, alt, data, layout, logs=True))
    return _drawn("curves", "How they learn", made, ladder.rows, models) if made else None


def memory(ladder: Ladder, models: Models) -> Section | None:
    made = []
    for reading, title, unit, caption in (
        ("state_bytes", "Against memory", "state carried from the past", memory_caption),
        ("parameters", "Against size", "parameters", size_caption),
    ):
        data, layout = figures.against(ladder, reading, models)
        if sum(trace["meta"]["role"] == "point" for trace in data) < 2:
            continue
        layout["xaxis"]["title"] = {"text": unit}
        layout["yaxis"]["title"] = {"text": f"held-out {figures.unit_of(ladder)}"}
        alt = (
            f"Scatter plot of held-out {figures.unit_of(ladder)} against {unit}, one point a model."
        )
        made.append(
            Figure(f"against-{reading}", title, caption(ladder), alt, data, layout, labels=True)
        )
    return _drawn("memory", "What memory and size buy", made, ladder.rows, models) if made else None


def _drawn(
    name: str, title: str, made: list[Figure], rows: Sequence[Row], models: Models
) -> Section:
    legend = [{"name": row.short, "label": row.label, "model": models[row.label]} for row in rows]
    return Section(name, title, {"legend": legend}, tuple(made))


def surprise(ladder: Ladder, models: Models) -> Section | None:
    found = passage(ladder)
    if found is None:
        return None
    content = {
        "passage": found,
        "edges": EDGES,
        "shifts": SHIFTS,
        "models": [{"name": row.short, "model": models[row.label]} for row in found.rows],
    }
    data = {
        "names": [row.short for row in found.rows],
        "hues": [look(models[row.label]).hue for row in found.rows],
        "nats": [[round(value, 4) for value in values] for values in found.nats],
        "edges": EDGES,
        "shifts": SHIFTS,
        "against": found.against,
    }
    title = "Where memory helps" if len(found.rows) > 1 else "What surprises it"
    return Section("surprise", title, content, data=data)


def samples(ladder: Ladder, models: Models) -> Section | None:
    cards = [
        {"name": row.short, "model": models[row.label], "run": run}
        for row in ladder.rows
        if (run := next((run for run in row.runs if run.sample.strip()), None)) is not None
    ]
    return Section("samples", "What they write", {"cards": cards}) if cards else None


def starvation(ladder: Ladder, models: Models) -> Section | None:
    shares = ladder.corpus.get("starvation")
    if not isinstance(shares, dict) or not shares:
        return None
    known = sorted((int(order), float(share)) for order, share in shares.items())
    trace = {
        "type": "bar",
        "x": [order for order, _ in known],
        "y": [figures.rounded(100 * share) for _, share in known],
        "text": [numerals.percent(share) for _, share in known],
        "meta": {"role": "bar"},
    }
    layout = {
        "xaxis": {"title": {"text": "n"}, "dtick": 1},
        "yaxis": {"title": {"text": "never seen, %"}, "range": [0, 108]},
    }
    alt = "Bar chart of the share of held-out n-grams that never occur in the training text, by n."
    caption = starvation_caption(known)
    made = (Figure("starvation", "Held-out n-grams never seen", caption, alt, [trace], layout),)
    return Section("starvation", "How counting starves", {}, made)


def audit(ladder: Ladder, models: Models) -> Section | None:
    rows = audits.audited(ladder)
    if not rows:
        return None
    title = "What the output layers can say" if len(rows) > 1 else "What the output layer can say"
    made = _drawn("audit", title, [audits.figure(rows, models)], rows, models)
    made.content.update(facts=audits.FACTS, lines=audits.lines(rows, models))
    return made


def instruments(ladder: Ladder, models: Models) -> Section | None:
    """Every reading this page knows nothing about: rows by name and tags, a column a model."""
    shown = audits.NAMES if audits.audited(ladder) else frozenset()
    known = {(s.name, s.tags, s.unit) for row in ladder.rows for s in row.instruments}
    keys = sorted(key for key in known if key[0] not in shown)
    rows = [
        row
        for row in ladder.rows
        if {(s.name, s.tags, s.unit) for s in row.instruments} & set(keys)
    ]
    if not rows:
        return None
    lines = []
    for name, tags, unit in keys:
        found = [
            next(
                (s for s in row.instruments if (s.name, s.tags, s.unit) == (name, tags, unit)), None
            )
            for row in rows
        ]
        tagged = ", ".join(f"{key} {value}" for key, value in tags)
        lines.append(
            {"name": name, "tags": tagged, "unit": "" if unit == "1" else unit, "stats": found}
        )
    heads = [{"name": row.short, "model": models[row.label]} for row in rows]
    content = {"heads": heads, "lines": lines}
    followed = bits.followed(ladder)
    if not followed:
        return Section("instruments", "Instruments", content)
    made = _drawn("instruments", "Instruments", bits.figures(followed, models), followed, models)
    made.content.update(content)
    return made


def reproduce(ladder: Ladder, models: Models) -> Section:
    runs = ladder.runs
    commands = list(dict.fromkeys(run.command for run in runs if run.command))
    records = [
        {
            "label": row.label,
            "key": run.key,
            "seed": run.config.seed,
            "finished": run.finished,
            "run": run,
        }
        for row in ladder.rows
        for run in row.runs
    ]
    content = {
        "commands": commands,
        "records": records,
        "corpus": runs[0].config.corpus,
        "seeds": sorted({run.config.seed for run in runs}),
        "versions": _distinct([run.versions for run in runs]),
        "machines": _distinct([run.machine for run in runs]),
    }
    return Section("reproduce", "Doing it again", content)


def _distinct(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The different ones among some descriptions, with how many runs each holds for."""
    found: list[dict[str, Any]] = []
    for one in described:
        if one and one not in [entry["what"] for entry in found]:
            found.append({"what": one, "runs": described.count(one)})
    return found


SECTIONS: tuple[Callable[[Ladder, Models], Section | None], ...] = (
    asked,
    ladder_table,
    curves,
    memory,
    surprise,
    samples,
    starvation,
    audit,
    instruments,
    reproduce,
)
