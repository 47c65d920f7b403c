"""The README's set-up lines, table of parts and tree are the real ones (test_pages.py runs its commands)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqstate.cli.ls import markdown
from seqstate.core import registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_two_set_up_commands_are_those_of_the_make_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    makefile = makefile.replace("$(PYTHON)", "python3").replace("pip install -q", "pip install")
    lines = blocks("sh")[0].strip().splitlines()
    assert len(lines) == 2
    for line in lines:
        for part in line.split(" && "):
            assert part in makefile, part


@pytest.mark.parametrize("kind", list(registry.KINDS))
def test_the_table_of_parts_is_what_ls_prints(kind):
    parts = {name: registry.summary(kind, name) for name in registry.names(kind)}
    assert markdown({kind: parts}) in README, f"run: seqstate ls {kind} --markdown"


def test_the_tree_names_every_file_and_folder_of_the_package():
    tree = next(block for block in blocks("text") if "src/seqstate" in block)
    package = ROOT / "src" / "seqstate"
    wanted = [
        path.name
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    for name in wanted:
        if not name.startswith("__"):
            assert name in tree, f"{name} is missing in the tree of the README"
