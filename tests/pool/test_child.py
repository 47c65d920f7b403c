"""A process of its own for each call that a Dask worker's thread makes, kept for the next."""

import os
import signal
import time

import pytest
from engines import until

from seqstate.errors import Interrupted
from seqstate.pool import Task, _away, _child


@pytest.fixture(autouse=True)
def ended(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "cache"))
    yield
    begun = [child.pid for child in _child.IDLE]
    _child.end_idle()
    assert not [pid for pid in begun if os.path.exists(f"/proc/{pid}")]


def ask(function, tmp_path, *arguments, stopped=lambda: False):
    parcel = _away.Parcel.of(function, Task("run", tmp_path / "out" / "key", arguments), {})
    return parcel.settle(_child.run(parcel, stopped=stopped))


def own_pid(corpora, folder):
    return os.getpid()


def says(corpora, folder, text):
    print(text)
    raise ValueError(text)


def sleeps(corpora, folder):
    folder.mkdir(parents=True)
    time.sleep(60)


def dies(corpora, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def test_calls_one_after_another_share_a_process_that_is_not_this_one(tmp_path):
    first, second = ask(own_pid, tmp_path), ask(own_pid, tmp_path)
    assert first == second != os.getpid()
    assert len(_child.IDLE) == 1


def test_an_error_comes_back_and_the_process_stays(tmp_path, capfd):
    pid = ask(own_pid, tmp_path)
    with pytest.raises(ValueError, match="of no use"):
        ask(says, tmp_path, "of no use")
    assert ask(own_pid, tmp_path) == pid


def test_a_call_is_interrupted_when_it_shall_stop(tmp_path):
    folder = tmp_path / "out" / "key"
    with pytest.raises(Interrupted):
        ask(sleeps, tmp_path, stopped=folder.exists)
    assert not _child.IDLE, "it might be interrupted once more"


def test_a_process_that_is_killed_is_told_of_and_replaced(tmp_path):
    pid = ask(own_pid, tmp_path)
    parcel = _away.Parcel.of(dies, Task("run", tmp_path / "out" / "key"), {})
    assert _child.run(parcel, stopped=lambda: False).lost
    assert ask(own_pid, tmp_path) not in (pid, os.getpid())


def test_a_process_that_was_killed_while_it_was_idle_is_replaced_and_nothing_is_lost(tmp_path):
    pid = ask(own_pid, tmp_path)
    os.kill(pid, signal.SIGKILL)
    until(lambda: _child.IDLE[0].poll() is not None)
    assert ask(own_pid, tmp_path) not in (pid, os.getpid())
    assert len(_child.IDLE) == 1


def test_it_ends_when_its_parent_is_gone(tmp_path):
    pid = ask(own_pid, tmp_path)
    [child] = _child.IDLE
    child.stdin.close()  # as the system does for a process that was killed
    until(lambda: child.poll() is not None)
    assert pid == child.pid
    _child.IDLE.clear()
