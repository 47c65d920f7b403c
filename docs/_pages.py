"""Pages of the site that are made from other files: parts from their folders, and the files of the root."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs")]

from _docstrings import as_written  # noqa: E402

from seqstate.core import registry  # noqa: E402  (reads the parts as text, imports none)

KINDS = {
    "states": "How the past is remembered: what `--state` takes.",
    "energies": "How candidates are scored: what `--energy` takes, and `energy=` of attention.",
    "screens": "Words thrown away before their energy is paid for: what `generate --screen` takes.",
    "tasks": "Synthetic sequences whose best possible answer is known.",
    "instruments": "What is measured: readings with a unit, a count and a standard error.",
}
FROM_THE_ROOT = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "log": "LOG.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, as if they lay in docs/."""
    pages = {f"api/{kind}.md": parts(kind, told) for kind, told in KINDS.items()}
    pages |= {f"{page}.md": root_file(name) for page, name in FROM_THE_ROOT.items()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def parts(kind: str, told: str) -> str:
    """One page for a folder: its catalogue, then every part."""
    names = registry.names(kind)
    lines = [f"# {kind.capitalize()}", "", told, "", f"| {registry.KINDS[kind]} | |", "|---|---|"]
    for name in names:
        summary = as_written(registry.summary(kind, name)).replace("|", "\\|")
        lines.append(f"| [`{name}`](#seqstate.{kind}.{name}) | {summary} |")
    for name in names:
        lines += ["", f"::: seqstate.{kind}.{name}", "    options:", f"      heading: {name}"]
    return "\n".join(lines) + "\n"


def root_file(name: str) -> str:
    """A file of the root, with its links seen from docs/."""
    return re.sub(r"\]\(docs/", "](", (ROOT / name).read_text(encoding="utf-8"))
