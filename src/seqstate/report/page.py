"""Runs in, one self-contained HTML page out: no outside request, the same bytes for the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from seqstate.core.record import Run, write_atomic
from seqstate.report import numerals, palette
from seqstate.report.findings import sentences
from seqstate.report.passage import visible
from seqstate.report.sections import SECTIONS, Section
from seqstate.report.summary import Ladder, ladders

HERE = Path(__file__).parent
STYLES = ("page.css", "parts.css", "print.css")
SCRIPTS = (
    "plots.js",
    "sort.js",
    "surprise.js",
    "copy.js",
)  # theme.js goes first, before anything is drawn


@dataclass(frozen=True)
class Part:
    """One corpus on the page. suffix: makes its anchors different from those of the other corpora."""

    ladder: Ladder
    suffix: str
    finding: list[str]
    sections: list[Section]


def render(runs: Sequence[Run], out: Path | str, title: str | None = None) -> Path:
    """Write the page of some runs to `out` (atomically) and return its path.

    title: of the page; by default it says how many models on which corpus.
    Raises ValueError if there is no run, OSError if `out` cannot be written.
    """
    text = html(runs, title)
    return write_atomic(Path(out), text.encode("utf-8", errors="replace"))


def html(runs: Sequence[Run], title: str | None = None) -> str:
    """The page as a string."""
    found = ladders(runs)
    models = _models(found)
    parts = [
        _part(ladder, models, str(i + 1) if len(found) > 1 else "")
        for i, ladder in enumerate(found)
    ]
    every = [run for ladder in found for run in ladder.runs]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title or _title(found),
            parts=parts,
            several=len(parts) > 1,
            looks=[palette.look(index) for index in range(len(models))],
            palettes={"light": palette.LIGHT, "dark": palette.DARK},
            figures=_figures(parts, models),
            data={f"{s.name}{p.suffix}": s.data for p in parts for s in p.sections if s.data},
            finished=max(run.finished for run in every)[:10],
            runs=len(every),
            seqstate=max(run.versions.get("seqstate", "") for run in every),
            styles="\n".join(_asset(name) for name in STYLES),
            theme=_asset("theme.js"),
            scripts="\n".join(_asset(name) for name in SCRIPTS),
            plotly=get_plotlyjs(),
        )
    )


def _models(found: list[Ladder]) -> dict[str, int]:
    """Label -> index of its look: one look a model over the whole page, in order of rank."""
    labels = dict.fromkeys(row.label for ladder in found for row in ladder.rows)
    return {label: index for index, label in enumerate(labels)}


def _part(ladder: Ladder, models: dict[str, int], suffix: str) -> Part:
    made = [section(ladder, models) for section in SECTIONS]
    return Part(ladder, suffix, sentences(ladder), [section for section in made if section])


def _title(found: list[Ladder]) -> str:
    names = numerals.listed([ladder.name for ladder in found])
    if len(found) == 1 and len(found[0].rows) == 1:
        return f"{found[0].rows[0].short} on {names}"
    count = len({row.label for ladder in found for row in ladder.rows})
    return f"{numerals.word(count).capitalize()} model{'s' if count > 1 else ''} on {names}"


def _figures(parts: list[Part], models: dict[str, int]) -> dict[str, Any]:
    """What plots.js draws: every figure by its id, and the look of every model."""
    return {
        "looks": [vars(palette.look(index)) for index in range(len(models))],
        "figures": {
            f"plot-{figure.name}{part.suffix}": {
                "data": figure.data,
                "layout": figure.layout,
                "labels": figure.labels,
            }
            for part in parts
            for section in part.sections
            for figure in section.figures
        },
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "bits": numerals.bits,
        "spread": numerals.spread,
        "figures": numerals.figures,
        "plural": numerals.plural,
        "word": numerals.word,
        "breakable": _breakable,
    }
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": True,
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return environment


def _breakable(text: str) -> Markup:
    """The text, which a narrow column may break after an underscore."""
    return Markup("_<wbr>").join(escape(text).split("_"))


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
