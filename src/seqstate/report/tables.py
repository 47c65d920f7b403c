"""The ladder as a table: for the terminal (rich), for a file (Markdown), for a program (list of dicts)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seqstate.core.record import Run
from seqstate.report import numerals
from seqstate.report.columns import COLUMNS, Column
from seqstate.report.findings import SCORE_NAMES, tied
from seqstate.report.summary import Ladder, Row, Stat, ladders

if TYPE_CHECKING:
    from rich.table import Table

BEST, TIED = "★", "≈"
SPREAD = "± over\nseeds"
NAME_WIDTH = 26  # characters the names keep when there is little room


def mark(row: Row, ladder: Ladder) -> str:
    """`★` best score, `≈` not told apart from the best by the seeds there are, or nothing."""
    ranked = ladder.ranked
    if len(ranked) < 2 or row not in ranked:
        return ""
    if row is ranked[0]:
        return BEST
    return TIED if row in tied(ladder) else ""


def cell(row: Row, column: Column) -> str:
    stat = row.stats.get(column.name)
    return numerals.MISSING if stat is None else column.write(stat.mean)


def scatter(row: Row, score: str) -> str:
    """The spread of the score over seeds, as written beside it."""
    stat = row.stats.get(score)
    if stat is None or stat.spread is None:
        return numerals.MISSING
    written = numerals.spread(stat.spread)
    return written if written.startswith("<") else "±" + written


def table(runs: Sequence[Run], width: int | None = None) -> Table:
    """A table for `width` characters (None: this terminal's); columns that do not fit are left out.

    Runs on several corpora give one table each, stacked: they are never ranked together.
    Raises ValueError if there is no run.
    """
    from rich.console import Console
    from rich.table import Table

    width = width or Console().width
    found = [_table(ladder, width) for ladder in ladders(runs)]
    if len(found) == 1:
        return found[0]
    stack = Table.grid()
    for one in found:
        stack.add_row(one)
    return stack


def _table(ladder: Ladder, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(_title(ladder)),
        title_justify="left",
        caption=Text(_legend(ladder)),
        caption_justify="left",
    )
    columns = _fitting(ladder, width)
    one_line = _needs(ladder, columns, names=max(len(row.label) for row in ladder.rows)) <= width
    made.add_column("", width=1)
    made.add_column("rung + energy", overflow="fold", vertical="bottom")
    for head in _heads(ladder, columns):
        made.add_column(head, justify="right", no_wrap=True)
    for row in ladder.rows:
        name = row.label if one_line else row.label.replace(" + ", "\n+ ", 1)
        cells = [mark(row, ladder), name, *_cells(row, ladder, columns)]
        made.add_row(*map(Text, cells), style="bold" if mark(row, ladder) == BEST else "")
    return made


def _cells(row: Row, ladder: Ladder, columns: list[Column]) -> list[str]:
    found = []
    for column in columns:
        found.append(cell(row, column))
        if column.name == ladder.score:
            found.append(scatter(row, column.name))
    return found


def _title(ladder: Ladder) -> str:
    return f"{ladder.name} · {ladder.corpus.get('tokenizer', '')} · corpus {ladder.corpus['id']}".replace(
        " ·  · ", " · "
    )


def _legend(ladder: Ladder) -> str:
    marks = {mark(row, ladder) for row in ladder.rows}
    seeds = sorted({seed for row in ladder.trained for seed in row.seeds})
    parts = []
    if BEST in marks:
        parts.append(f"{BEST} fewest {SCORE_NAMES[ladder.score]}")
    if TIED in marks:
        parts.append(f"{TIED} not told apart from {BEST} by these seeds")
    if seeds:
        parts.append(("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds)))
    return " · ".join(parts)


def _known(ladder: Ladder) -> list[Column]:
    return [column for column in COLUMNS if any(column.name in row.stats for row in ladder.rows)]


def _fitting(ladder: Ladder, width: int) -> list[Column]:
    """The known columns, in order, dropping the least needed until the rest fits."""
    known = _known(ladder)
    names = min(NAME_WIDTH, max(len(part) for row in ladder.rows for part in _name_parts(row)))
    while len(known) > 1 and _needs(ladder, known, names) > width:
        known.remove(max(known, key=lambda column: (column.name != ladder.score, column.keep)))
    return known


def _name_parts(row: Row) -> list[str]:
    return row.label.replace(" + ", "\n+ ", 1).split("\n")


def _needs(ladder: Ladder, columns: list[Column], names: int) -> int:
    """Characters the table takes if its names take `names`."""
    texts = zip(
        _heads(ladder, columns), *(_cells(row, ladder, columns) for row in ladder.rows), strict=True
    )
    return (
        4
        + names
        + sum(2 + max(len(line) for text in cells for line in text.split("\n")) for cells in texts)
    )


def _heads(ladder: Ladder, columns: list[Column]) -> list[str]:
    found = []
    for column in columns:
        found += [column.head, SPREAD] if column.name == ladder.score else [column.head]
    return found


def table_markdown(runs: Sequence[Run]) -> str:
    """One GitHub-flavoured table a corpus, each under a line that names the corpus."""
    return "\n\n".join(_markdown(ladder) for ladder in ladders(runs)) + "\n"


def _markdown(ladder: Ladder) -> str:
    columns = _known(ladder)
    heads = ["", "rung", "energy", *(" ".join(head.split()) for head in _heads(ladder, columns))]
    lines = ["| " + " | ".join(heads) + " |"]
    lines.append("|" + "|".join([" --- "] * 3 + [" ---: "] * (len(heads) - 3)) + "|")
    for row in ladder.rows:
        names = [mark(row, ladder), _code(row.config.state), _code(row.config.energy)]
        lines.append("| " + " | ".join(names + _cells(row, ladder, columns)) + " |")
    legend = _legend(ladder)
    return "\n".join([_plain(_title(ladder)), "", *lines, *(["", legend] if legend else [])])


def _code(text: str | None) -> str:
    return f"`{_plain(text)}`" if text else numerals.MISSING


def _plain(text: str) -> str:
    """Text that cannot break out of a Markdown cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def table_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict a row, best first within its corpus; plain values only, units beside every number."""
    return [
        {
            "corpus": ladder.corpus["id"],
            "corpus_name": ladder.name,
            "rank": place + 1 if row in ladder.ranked else None,
            "best": mark(row, ladder) == BEST,
            "tied_with_best": mark(row, ladder) == TIED,
            "label": row.label,
            "state": row.config.state,
            "energy": row.config.energy,
            "counted": row.counted,
            "seeds": list(row.seeds),
            "keys": [run.key for run in row.runs],
            "readings": {name: _numbers(stat) for name, stat in row.stats.items()},
            "instruments": [
                {"name": stat.name, "tags": dict(stat.tags), **_numbers(stat)}
                for stat in row.instruments
            ],
        }
        for ladder in ladders(runs)
        for place, row in enumerate(ladder.rows)
    ]


def _numbers(stat: Stat) -> dict[str, Any]:
    return {
        "mean": stat.mean,
        "spread": stat.spread,
        "seeds": stat.count,
        "stderr": stat.stderr,
        "unit": stat.unit,
    }
