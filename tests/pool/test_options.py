"""What --backend and --cluster say to mistakes: one line, exit code 2, nothing written."""

import socket
import sys

import pytest

from seqstate.cli import compare as compare_command
from seqstate.cli import main
from seqstate.errors import Lost


@pytest.fixture
def said(book, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "cache"))

    def run(*options, command="compare"):
        out = tmp_path / "out"
        named = ["high_rank_targets"] if command == "claim" else []
        code = main([command, *named, str(book), *map(str, options), "--out", str(out)])
        assert not out.exists()
        [*before, line] = capsys.readouterr().err.splitlines()
        assert not [one for one in before if "rror" in one]
        return code, line

    return run


@pytest.fixture
def deaf():
    """An address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("command", ["compare", "claim"])
@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_cluster_that_does_not_answer(said, deaf, command, engine):
    code, line = said("--backend", engine, "--cluster", deaf, command=command)
    assert code == 2
    assert line == (
        f"seqstate: error: no {engine.capitalize()} cluster answers at {deaf}: Connection refused"
    )


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_an_address_that_is_none(said, engine):
    code, line = said("--backend", engine, "--cluster", "nonsense")
    assert (code, "--cluster nonsense is no address" in line) == (2, True)


def test_processes_here_have_no_cluster(said):
    code, line = said("--cluster", "auto")
    assert (code, "the backend loky runs on this machine alone" in line) == (2, True)


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_an_engine_that_is_not_installed(said, monkeypatch, engine, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"seqstate.pool.{engine}", raising=False)
    code, line = said("--backend", engine)
    assert code == 2
    assert line.endswith(
        f'the backend {engine} needs the package {package}: pip install "seqstate[cluster]"'
    )


def test_a_run_that_keeps_dying_is_a_failure_in_one_line(said, monkeypatch):
    def lost(options, pool):
        raise Lost("lstm + inner, seed 0 lost its worker 3 times")

    monkeypatch.setattr(compare_command, "compared", lost)
    code, line = said("--jobs", "1")
    assert (code, line) == (1, "seqstate: error: lstm + inner, seed 0 lost its worker 3 times")
