"""Ray: two nodes that do not see our files, one of which is killed; a cluster begun here, and Ctrl-C."""

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

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

# a busy machine would starve nice workers; a token of their own, for Ray 2.60 writes one to ~/.ray
RAY = {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}

pytestmark = pytest.mark.timeout(600)  # a cluster begins slowly on a busy machine


@pytest.fixture
def cluster(processes, tmp_path):
    """Two nodes of one processor each, in folders of their own: their address, the second."""
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets must be short
    started, port = processes(SEQSTATE_CACHE=OWN_CACHE, **RAY), free_port()
    start = ["-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", 1]
    start += ["--node-ip-address", "127.0.0.1", "--object-store-memory", 100_000_000]
    head = ["--head", "--port", port, "--ray-client-server-port", free_port()]
    head += ["--include-dashboard=false", "--disable-usage-stats", "--temp-dir", place]
    first = started.start(*start, *head, cwd=tmp_path / "one")
    until(lambda: listens(port), first)
    address = f"127.0.0.1:{port}"
    yield address, started.start(*start, "--address", address, cwd=tmp_path / "two")
    started.close()
    shutil.rmtree(place)
    assert started.gone()


def test_all_runs_finish_when_a_node_is_killed_while_it_works(
    cluster, processes, command, straight, tmp_path
):
    address, second = cluster
    here, home = processes(SEQSTATE_CACHE=OWN_CACHE, **RAY), tmp_path / "home"
    asked = ["--backend", "ray", "--cluster", address, "--jobs", 2, "--out", OWN_LADDER]
    run = here.seqstate(*command, *asked, cwd=home)
    until(lambda: list(tmp_path.glob("two/cache/away/.*/*/metrics.jsonl")), run)
    kill(second)
    _, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, err
    assert err.count("a worker was lost under") == 1
    assert "Traceback" not in err
    assert numbers(home / "ladder") == straight
    assert len(list(tmp_path.glob("two/cache/corpora/*/train.bin"))) == 1, "it was sent the text"
    assert (home / "ladder" / "report.html").exists()
    assert not list((home / "ladder").glob("runs/.*"))
    assert here.gone()


def test_ctrl_c_on_a_cluster_begun_here_saves_and_the_same_command_goes_on(
    processes, command, straight, tmp_path
):
    before, stored = set(Path("/tmp").glob("seqstate-*")), plasma()
    here = processes(SEQSTATE_CACHE=str(tmp_path / "cache"), **RAY)
    run = here.seqstate(*command, "--backend", "ray", "--jobs", 2, "--out", "ladder", cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("ladder/runs/*/metrics.jsonl"))) == 2, run)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert here.gone()
    assert set(Path("/tmp").glob("seqstate-*")) <= before
    assert plasma() <= stored
    assert kept(tmp_path / "ladder") == [True, True]
    serially(command, tmp_path / "ladder", cache=tmp_path / "cache")
    assert numbers(tmp_path / "ladder") == straight


def plasma() -> set[str]:
    """Files of Ray's object stores in shared memory."""
    return {name for name in os.listdir("/dev/shm") if "plasma" in name}
