"""A report is a pure function of the records (run.json): no training, no models needed.

seqstate report runs/ other-runs/ --out report.html
"""

from __future__ import annotations

from pathlib import Path

USAGE = "DIR [DIR ...]"


def add_arguments(parser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="DIR", help="folders with run.json in them, at any depth"
    )
    parser.add_argument("--out", default="report.html", metavar="FILE", help="page to write")
    parser.add_argument("--title", help="of the page")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(options) -> int:
    import json

    from seqstate.cli import display
    from seqstate.report import finding, load_runs, render, table, table_json

    out = Path(options.out)
    if out.exists() and not options.overwrite:
        raise ValueError(f"{out} exists; name another --out, or add --overwrite")
    runs = load_runs([Path(place) for place in options.runs])
    render(runs, out, title=options.title)
    if options.json:
        print(json.dumps(table_json(runs), indent=1))
    else:
        display.console().print(table(runs))
        print(f"\n{finding(runs)}\n\nwrote {out}")
    return 0
