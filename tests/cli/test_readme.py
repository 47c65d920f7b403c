"""The README's commands and Python lines run as printed, and its table of parts is the real one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from seqstate.cli.ls import markdown
from seqstate.core import registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ seqstate ")]


def test_the_two_set_up_commands_are_those_of_the_make_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    makefile = makefile.replace("$(PYTHON)", "python3").replace("pip install -q", "pip install")
    lines = blocks("sh")[0].strip().splitlines()
    assert len(lines) == 2
    for line in lines:
        for part in line.split(" && "):
            assert part in makefile, part


def test_every_command_of_the_readme_runs_in_order(seqstate, book, tmp_path, monkeypatch):
    """As printed, but on a tiny text and for a few steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(book.read_text())
    found = commands()
    assert len(found) >= 6
    for line in found:
        words = shlex.split(line)[1:]
        if words[0] == "compare":
            words = [word for word in words if word not in ("--budget", "10m", "30m")]
            words += ["--steps", "2", "--jobs", "1", "--parameters", "20000", "--vocab-size", "300"]
            words = (
                words
                if any(word == "book.txt" for word in words)
                else [words[0], "book.txt", *words[1:]]
            )
        if words[0] == "train":
            words += ["--steps", "2", "--vocab-size", "300"]
        code, _, err = seqstate(*words)
        assert code == 0, f"{line}\n{err}"


def test_the_python_lines_of_the_readme_run(book, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(book.read_text())
    for block in blocks("python"):
        exec(compile(block.replace("steps=2000", "steps=2"), "README.md", "exec"), {})


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
