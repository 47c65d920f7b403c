"""Docstrings for the site as they are written: `<h, w>` is no tag, and aligned columns stay aligned."""

from __future__ import annotations

import re
from typing import Any

import griffe

CODE = re.compile(r"(`[^`\n]*`)")
TERM = r"[a-z_]+(?:, [a-z_]+)*: "  # "steps, seconds: ..." begins what is told of an option


class AsWritten(griffe.Extension):
    """Docstrings are plain prose with formulas; Markdown gets to see them so that they look the same."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_written(obj.docstring.value)


def as_written(text: str) -> str:
    """Markdown that shows `text`: paragraph by paragraph, indented ones are code already."""
    return "\n\n".join(_paragraph(part) for part in text.split("\n\n"))


def _paragraph(part: str) -> str:
    lines = [line for line in part.splitlines() if line.strip()]
    if all(line.startswith("    ") for line in lines):
        return part
    if len(lines) > 1 and all(re.search(r"\S {2,}\S", line) for line in lines):
        return "\n".join(f"    {line}" for line in lines)
    part = re.sub(rf"\n(?={TERM})", "  \n", part)  # two spaces: the line ends here
    pieces = CODE.split(part)
    return "".join(piece if piece.startswith("`") else _escaped(piece) for piece in pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_])", r"\\\1", text).replace("<", "&lt;")
