"""Work in processes side by side: all results, the first error, a Ctrl-C that ends well, a lost worker."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from seqstate.errors import Lost
from seqstate.pool import Task, engines, open_pool, side_by_side


@pytest.fixture
def pool():
    with open_pool("loky", jobs=2) as pool:
        yield pool


def power(corpora, folder, base, exponent):
    return base**exponent


def divided(corpora, folder, number, by):
    return number // by


def dies(corpora, folder, times):
    """Kills its own process the first few times."""
    folder.mkdir(exist_ok=True)
    tried = len(list(folder.iterdir()))
    if tried < times:
        (folder / str(tried)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return folder.name


def test_every_file_is_an_engine():
    assert engines() == ["dask", "loky", "ray"]


def test_all_results_come_back(pool, tmp_path):
    results = []
    tasks = [Task(str(exponent), tmp_path, (2, exponent)) for exponent in range(7)]
    side_by_side(power, tasks, pool=pool, done=results.append)
    assert sorted(results) == [1, 2, 4, 8, 16, 32, 64]


def test_an_error_comes_back_as_it_was(pool, tmp_path):
    tasks = [Task("", tmp_path, numbers) for numbers in [(1, 1), (1, 0), (4, 2)]]
    with pytest.raises(ZeroDivisionError):
        side_by_side(divided, tasks, pool=pool, done=lambda result: None)


def test_a_run_whose_worker_is_killed_begins_again_and_no_other_does(pool, tmp_path):
    tasks = [Task(f"run {name}", tmp_path / name, (2 * (name == "b"),)) for name in "abcd"]
    results, notes = [], []
    side_by_side(dies, tasks, pool=pool, done=results.append, note=notes.append)
    assert sorted(results) == ["a", "b", "c", "d"]
    assert notes == ["a worker was lost under run b; that run begins again"] * 2


def test_a_run_that_keeps_dying_is_named_and_the_others_are_kept(pool, tmp_path):
    tasks = [Task(f"run {name}", tmp_path / name, (9 * (name == "b"),)) for name in "abc"]
    results = []
    with pytest.raises(Lost, match="run b lost its worker 3 times: killed, or out of memory"):
        side_by_side(dies, tasks, pool=pool, done=results.append)
    assert len(list((tmp_path / "b").iterdir())) == 3
    assert "a" in results


def test_a_process_that_is_gone_is_no_reason_against_stopping_the_others(pool):
    handle, gone, other = Future(), subprocess.Popen(["true"]), subprocess.Popen(["sleep", "60"])
    gone.wait()
    pool._busy[handle] = SimpleNamespace(_processes={gone.pid: gone, other.pid: other})
    pool.stop([handle])
    del pool._busy[handle]
    assert other.wait(10) == -signal.SIGINT


INTERRUPTED = """
import os, time
from pathlib import Path
from seqstate.errors import Interrupted
from seqstate.pool import Task, open_pool, side_by_side

def work(corpora, folder):
    Path(folder.name + ".pid").write_text(str(os.getpid()))
    folder.touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(folder.name + ".saved").touch()
        raise

if __name__ == "__main__":
    try:
        with open_pool("loky", jobs=2) as pool:
            tasks = [Task(name, Path(name)) for name in "abcd"]
            side_by_side(work, tasks, pool=pool, done=print)
    except Interrupted:
        Path("told").touch()
"""


@pytest.fixture
def two_at_work(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not {"a", "b"} <= set(os.listdir(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["the command alone", "its group"])
def test_ctrl_c_lets_work_under_way_end_well_and_begins_nothing_new(two_at_work, tmp_path, send):
    send(two_at_work.pid, signal.SIGINT)
    assert two_at_work.wait(60) == 0
    left = {name for name in os.listdir(tmp_path) if not name.endswith(".pid")}
    assert left == {"script.py", "a", "b", "a.saved", "b.saved", "told"}


def test_workers_do_not_outlive_a_command_that_is_killed(two_at_work, tmp_path):
    workers = [int((tmp_path / f"{name}.pid").read_text()) for name in "ab"]
    two_at_work.kill()
    two_at_work.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
