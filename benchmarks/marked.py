"""Tables between two marks of a document: `<!-- NAME -->` and `<!-- end of NAME -->`."""

from __future__ import annotations

from pathlib import Path


def replace(path: Path, name: str, table: str) -> None:
    """Put `table` between the marks of `name`; what stands outside them stays. ValueError without marks."""
    text, (opening, closing) = path.read_text(), (f"<!-- {name} -->", f"<!-- end of {name} -->")
    before, found, rest = text.partition(opening)
    _, ended, after = rest.partition(closing)
    if not found or not ended:
        raise ValueError(f"{path} has no marks for {name}; write {opening} and {closing} into it")
    path.write_text(f"{before}{opening}\n\n{table.strip()}\n\n{closing}{after}")


def table(header: list[str], rows: list[list[str]], aligned: str) -> str:
    """A Markdown table; `aligned` has one of l and r a column."""
    marks = {"l": "---", "r": "--:"}
    lines = [header, [marks[side] for side in aligned], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
