"""Records in, table and HTML out: pure functions of runs, no torch.

    load_runs(paths) -> list[Run]             every run.json under some folders
    finding(runs) -> str                      two or three sentences, from the numbers
    table(runs) -> rich.table.Table           for the terminal; table_json, table_markdown beside it
    render(runs, out, title=None) -> Path     one self-contained HTML page

What they need (rich, jinja2, plotly) is imported when one of them is asked for, not before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqstate.report.findings import finding
    from seqstate.report.load import load_runs
    from seqstate.report.page import render
    from seqstate.report.tables import table, table_json, table_markdown

__all__ = ["finding", "load_runs", "render", "table", "table_json", "table_markdown"]

_HOME = {  # no module is called like its function: importing it would hide the function
    "finding": "findings",
    "load_runs": "load",
    "render": "page",
    "table": "tables",
    "table_json": "tables",
    "table_markdown": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
