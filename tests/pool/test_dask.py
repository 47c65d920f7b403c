"""Dask: workers that do not see our files, one of which is killed; a cluster begun here, and Ctrl-C."""

import os
import signal

import pytest
from engines import (
    LIMIT,
    OWN_CACHE,
    OWN_LADDER,
    free_port,
    kept,
    kill,
    listens,
    numbers,
    serially,
    until,
)

pytestmark = pytest.mark.timeout(600)  # a cluster begins slowly on a busy machine


@pytest.fixture
def cluster(processes, tmp_path):
    """A scheduler and two workers of one thread, in folders of their own: its address, the workers."""
    started, port = processes(SEQSTATE_CACHE=OWN_CACHE), free_port()
    address, quiet = f"tcp://127.0.0.1:{port}", "--no-dashboard"
    cli = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port]
    scheduler = started.start(*cli, quiet, cwd=tmp_path / "scheduler")
    until(lambda: listens(port), scheduler)
    cli = ["-m", "distributed.cli.dask_worker", address, "--nthreads", 1, quiet]
    workers = [
        started.start(*cli, "--local-directory", tmp_path / name, cwd=tmp_path / name)
        for name in ("one", "two")
    ]
    yield address, workers
    started.close()
    assert started.gone()


def test_all_runs_finish_when_a_worker_of_another_machine_is_killed(
    cluster, processes, command, straight, tmp_path
):
    address, workers = cluster
    here, home = processes(SEQSTATE_CACHE=OWN_CACHE), tmp_path / "home"
    asked = ["--backend", "dask", "--cluster", address, "--jobs", 2, "--out", OWN_LADDER]
    run = here.seqstate(*command, *asked, cwd=home)
    until(lambda: list(tmp_path.glob("two/cache/away/.*/*/metrics.jsonl")), run)
    kill(workers[1])
    _, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, err
    assert "Traceback" not in err
    assert numbers(home / "ladder") == straight
    assert len(list(tmp_path.glob("two/cache/corpora/*/train.bin"))) == 1, "it was sent the text"
    assert (home / "ladder" / "report.html").exists()
    assert not list((home / "ladder").glob("runs/.*"))
    assert here.gone()


def test_ctrl_c_on_a_cluster_begun_here_saves_and_the_same_command_goes_on(
    processes, command, straight, tmp_path
):
    here = processes(SEQSTATE_CACHE=str(tmp_path / "cache"))
    run = here.seqstate(*command, "--backend", "dask", "--jobs", 2, "--out", "ladder", cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("ladder/runs/*/metrics.jsonl"))) == 2, run)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert here.gone()
    assert kept(tmp_path / "ladder") == [True, True]
    serially(command, tmp_path / "ladder", cache=tmp_path / "cache")
    assert numbers(tmp_path / "ladder") == straight
