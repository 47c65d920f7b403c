"""A tiny real text, made once, and a way to run the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORDS = "the old man and the sea said no word to the young boy who ran along the shore at night"


def tiny_text(sentences: int = 400) -> str:
    words, lines, place = WORDS.split(), [], 1
    for number in range(sentences):
        length = 4 + number % 7
        picked = [words[(place + 5 * step) % len(words)] for step in range(length)]
        place = (place * 7 + number) % len(words)
        lines.append(" ".join(picked).capitalize() + ".")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(tiny_text(), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def seqstate(capsys, monkeypatch):
    """Run a command in this process; returns (exit code, standard output, standard error)."""
    from seqstate.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["seqstate", *map(str, arguments)])
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def process():
    """Start a command as a process of its own."""

    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "seqstate", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()
