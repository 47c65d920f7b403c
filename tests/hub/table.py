"""Writes the table of rungs and modes into a page, after running every check it stands for:

PYTHONPATH=tests python -m hub.table docs/huggingface.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from hub.modes import MODES, has
from hub.rungs import hub_model, label, rungs

START, END = "<!-- table -->", "<!-- end of table -->"


def table() -> str:
    lines = ["| | " + " | ".join(MODES) + " |", "|---|" + ":-:|" * len(MODES)]
    for rung in rungs():
        cells = ["yes" if has(mode, hub_model(rung)) else "refused" for mode in MODES]
        lines.append(f"| `{label(rung)}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table between its marks as it is now."""
    before, rest = page.split(START)
    return f"{before}{START}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    for rung in rungs():
        for check in MODES.values():
            check(hub_model(rung))
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
