"""Every command and every Python block of the README, CONTRIBUTING and docs/ runs as printed, made small.

What can not run inside a test stands in NOT_RUN with the reason, and is checked in the way named there.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
from documented import (
    INLINE,
    PAGES,
    ROOT,
    SHELL,
    Block,
    blocks,
    in_running_text,
    small,
    small_python,
)
from props import SENTENCES, Props, records

from seqstate.cli import COMMANDS
from seqstate.cli.parser import Parser
from seqstate.core import registry

NOT_RUN = {  # pattern of a command -> why it does not run here
    r"(\.venv/bin/|python3? -m )?pip install": "downloads; its extras and files exist",
    r"python3 -m venv": "makes an empty environment for the line above",
    r"python -m build": "tests/release/test_archives.py builds both archives and looks into them",
    r"make( |$)": "runs this suite, or half an hour of it; make itself knows the target",
    r"(\.venv/bin/(python -m )?)?pytest": "runs this suite; what it names exists",
    r"seqstate claim \w+ (?!.*--report-only)": "takes hours, and minutes at --effort small; the real parser "
    "understands it, the claim and the count of its texts are right, and test_claim.py runs some small",
    r"(\S+=\S+ )*python benchmarks/": "minutes on an idle machine; its own parser understands it",
    r"torchrun ": "tests/cli/test_torchrun.py runs two ranks; here the real parser understands it",
    r"seqstate compare .*--cluster": "there is no such cluster here; tests/pool has its own, and the real "
    "parser understands it",
    r"(ray start|dask (scheduler|worker)) ?": "servers that do not end; tests/pool begins its own",
}
FOUND = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in FOUND if block.commands() or block.language == "python"]


def reason(command: str) -> str | None:
    """The pattern of NOT_RUN that a command falls under."""
    return next((pattern for pattern in NOT_RUN if re.match(pattern, command)), None)


@pytest.fixture
def scratch(seqstate, book, tmp_path, monkeypatch):
    """A folder with everything the pages name, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("seqstate.run.SAMPLE_TOKENS", 12)  # of every run, in its record
    text = "".join(book.read_text().splitlines(keepends=True)[:SENTENCES])

    def run(*words):
        words = small(list(words))
        props.set_out(shlex.join(words))
        code, _, err = seqstate(*words)
        assert code == 0, f"seqstate {shlex.join(words)}\n{err}"

    records(tmp_path)
    props = Props(tmp_path, text, run)
    return props


@pytest.mark.parametrize("block", RUN, ids=str)
def test_every_block_runs(block, scratch, monkeypatch, capsys):
    write_files(block, scratch, monkeypatch)
    if block.language == "python":
        monkeypatch.syspath_prepend(str(scratch.folder))
        scratch.set_out(block.text)
        exec(compile(small_python(block.text), str(block), "exec"), {"__name__": "__main__"})
        return
    for command in block.commands():
        for part in command.split(" && "):
            scratch.set_out(part)
            if reason(part):
                checks(part)
            else:
                carry_out(part.removeprefix(".venv/bin/"), scratch, monkeypatch)


def write_files(block: Block, scratch: Props, monkeypatch) -> None:
    """The files that the page asked the reader to write before this block."""
    for other in FOUND:
        if other.page == block.page and other.title and other.line <= block.line:
            (scratch.folder / other.title).write_text(other.text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, Path(other.title).stem, raising=False)


def carry_out(command: str, scratch: Props, monkeypatch) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        monkeypatch.setenv(name, value)
        if name == "PYTHONPATH":
            monkeypatch.syspath_prepend(value)
    if words[:3] == ["python", "-m", "seqstate"]:
        words = words[2:]
    if words[0] == "seqstate":
        scratch.run(*words[1:])
    elif words[0] == "python":
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *words[1:]],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    else:
        pytest.fail(f"{command!r}: no rule to run it; add one, or a line with a reason to NOT_RUN")


def checks(command: str) -> None:
    """The check that NOT_RUN names for a command, which raises what is wrong with it."""
    words = shlex.split(command)
    while "=" in words[0]:
        words.pop(0)
    if check := CHECKS[reason(command)]:
        check(words)


def extras(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        for group in re.findall(r"\[(.*)\]", word):
            assert set(group.split(",")) <= set(project["optional-dependencies"]), word
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).exists()


def target(words: list[str]) -> None:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def named(words: list[str]) -> None:
    if "-k" in words:
        wanted = words[words.index("-k") + 1]
        assert any(wanted in path.name for path in (ROOT / "tests").rglob("test_*.py")), wanted
    for word in words:
        if word.startswith("tests/"):
            assert (ROOT / word.partition("::")[0]).exists(), word


def claim(words: list[str]) -> None:
    options = parsed(words)
    if options.name.isupper():
        return  # a stand-in for any
    wants = registry.find("claims", options.name).texts
    assert len(options.text) >= wants, f"{options.name} wants {wants} texts"
    assert wants or not options.text, f"{options.name} makes its own data"


def script(words: list[str]) -> None:
    """A script's own parser reads its options; it is stopped there."""

    class Parsed(Exception):
        pass

    def read(parser, *_, **__):
        original(parser, words[2:])
        raise Parsed

    original = argparse.ArgumentParser.parse_args
    place = ROOT / words[1]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers that a benchmark imports
        patch.setattr(argparse.ArgumentParser, "parse_args", read)
        patch.setattr(sys, "argv", words[1:])
        patch.syspath_prepend(str(place.parent))
        with pytest.raises(Parsed):
            runpy.run_path(str(place), run_name="__main__")


def parsed(words: list[str]):
    from seqstate.cli import build_parser

    options = build_parser().parse_args(words[1:])
    return options[options.command]


def ranks(words: list[str]) -> None:
    assert words[words.index("-m") + 1] == "seqstate"
    parsed(words[words.index("seqstate") :])


CHECKS = dict(
    zip(
        NOT_RUN,
        [extras, None, None, target, named, claim, script, ranks, parsed, None],
        strict=True,
    )
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_running_text_are_understood(page):
    for command in in_running_text(page):
        words = shlex.split(command)
        if len(words) == 2 or words[-1].startswith("--"):
            mentioned(words)
        elif reason(command):
            checks(command)
        else:
            (script if words[0] == "python" else parsed)(words)


def mentioned(words: list[str]) -> None:
    """A command by its name, or one of its options: `seqstate export --onnx`."""
    if words[0] == "python":
        assert (ROOT / words[1]).exists()
        return
    assert words[1] in COMMANDS
    parser = Parser()
    importlib.import_module(f"seqstate.cli.{words[1]}").add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    assert {word for word in words if word.startswith("--")} <= known


def test_commands_in_running_text_are_found():
    assert INLINE.findall("so `seqstate claim` and `seqstate + x`") == ["seqstate claim"]


def test_every_reason_not_to_run_is_needed():
    lines = [part for block in RUN for line in block.commands() for part in line.split(" && ")]
    lines += [command for page in PAGES for command in in_running_text(page)]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, line) for line in lines), pattern


def test_every_block_says_what_it_is():
    """A block in an unknown language would be passed over in silence."""
    shown = {"text", "html", "toml", "yaml", "json", "cpp", "bibtex"}
    known = {*SHELL, "python", *shown}
    for block in FOUND:
        assert block.language in known, f"{block}: {block.language}"
