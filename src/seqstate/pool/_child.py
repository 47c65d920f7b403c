"""Processes that a thread begins for calls, each kept for the next one, and none outlives its parent.

Calls and answers are files. Standard input names them, and its end says that the parent is gone.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cloudpickle

from seqstate.errors import Interrupted
from seqstate.pool import _away

LOOK_SECONDS = 0.05  # for an answer
ASK_SECONDS = 1.0  # whether to stop
IDLE: list[subprocess.Popen] = []  # of this process


def run(parcel: _away.Parcel, *, stopped: Callable[[], bool]) -> _away.Returned:
    """`_away.run` in a process of its own, which is interrupted once `stopped` says so."""
    child = _child()
    try:
        with _away.workspace() as place:
            returned, told = _answer(child, parcel, place, stopped)
    except BaseException:
        _end(child)
        raise
    if told or returned.lost:
        _end(child)
    else:
        IDLE.append(child)
    return returned


def end_idle() -> None:
    while IDLE:
        _end(IDLE.pop())


def _child() -> subprocess.Popen:
    """One that is idle and alive, or a new one. Other threads look for theirs meanwhile."""
    with suppress(IndexError):
        while (child := IDLE.pop()).poll() is not None:
            _end(child)
        return child
    command = [sys.executable, "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)


def _end(child: subprocess.Popen) -> None:
    child.kill()
    with child:
        pass  # closes its pipe and waits


def _answer(
    child: subprocess.Popen, parcel: _away.Parcel, place: Path, stopped: Callable[[], bool]
) -> tuple[_away.Returned, bool]:
    """What came of a call, and whether it was told to stop."""
    call, answer = place / "call", place / "answer"
    call.write_bytes(pickle.dumps(sys.path) + cloudpickle.dumps(parcel))
    print(call, answer, sep="\t", file=child.stdin, flush=True)
    asked, told = time.monotonic(), False
    while not answer.exists():
        if child.poll() is not None:
            return _away.Returned(lost=True), told
        time.sleep(LOOK_SECONDS)
        if not told and time.monotonic() - asked > ASK_SECONDS:
            asked, told = time.monotonic(), stopped()
            if told:  # once: a second one would not let it save
                child.send_signal(signal.SIGINT)
    return pickle.loads(answer.read_bytes()), told


def main() -> None:
    calls: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            calls.put(line.rstrip("\n").split("\t"))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        call, answer = calls.get()
        unfinished = Path(f"{answer}.tmp")
        unfinished.write_bytes(cloudpickle.dumps(_called(Path(call))))
        unfinished.rename(answer)


def _called(call: Path) -> _away.Returned:
    try:
        with call.open("rb") as file:
            sys.path[:] = pickle.load(file)
            return _away.run(pickle.load(file))
    except KeyboardInterrupt:
        return _away.Returned(error=Interrupted("stopped"))
    except Exception as error:  # what the call needs is not installed here
        return _away.Returned(error=ValueError(f"a Dask worker cannot run it: {error}"))


if __name__ == "__main__":
    main()
