"""A tiny comparison, trained one by one in this process: what every engine has to give, bit for bit."""

from __future__ import annotations

import pytest
from cli.conftest import tiny_text
from engines import Processes, numbers, serially

MODELS = ["lstm(width=24) + inner", "rnn(width=40) + inner", "ngram(order=3)"]
OPTIONS = ["--tokenizer", "char", "--steps", "160", "--batch-size", "4", "--context", "16"]


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(tiny_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def command(book):
    return ["compare", book, *OPTIONS, "--models", *MODELS]


@pytest.fixture(scope="session")
def straight(command, tmp_path_factory):
    """The numbers of a serial comparison."""
    out = tmp_path_factory.mktemp("straight")
    serially(command, out / "ladder", cache=out / "cache")
    return numbers(out / "ladder")


@pytest.fixture
def processes():
    running = []

    def make(**environment):
        running.append(Processes(**environment))
        return running[-1]

    yield make
    for one in running:
        one.close()
