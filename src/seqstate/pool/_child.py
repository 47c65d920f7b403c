"""One call in a new process, begun from any thread; it ends when its parent does.

The call and its answer are files; standard input is only held open, and its end says that the parent is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle

from seqstate.errors import Interrupted
from seqstate.pool import _away

LOOK_SECONDS = 0.1  # at the child
ASK_SECONDS = 1.0  # whether to stop


def run(parcel: _away.Parcel, *, stopped: Callable[[], bool]) -> _away.Returned:
    """`_away.run` in a process of its own, which is interrupted once `stopped` says so."""
    with _away.workspace() as place:
        call, answer = place / "call", place / "answer"
        call.write_bytes(pickle.dumps(sys.path) + cloudpickle.dumps(parcel))
        command = [sys.executable, "-m", __name__, str(call), str(answer)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
            try:
                _wait(child, stopped)
            finally:
                child.kill()
        if not answer.exists():
            return _away.Returned(lost=True)
        return pickle.loads(answer.read_bytes())


def _wait(child: subprocess.Popen, stopped: Callable[[], bool]) -> None:
    asked, told = time.monotonic(), False
    while child.poll() is None:
        time.sleep(LOOK_SECONDS)
        if not told and time.monotonic() - asked > ASK_SECONDS:
            asked, told = time.monotonic(), stopped()
            if told:  # once: a second one would not let it save
                child.send_signal(signal.SIGINT)


def _answered(call: Path) -> _away.Returned:
    try:
        with call.open("rb") as file:
            sys.path[:] = pickle.load(file)
            return _away.run(pickle.load(file))
    except KeyboardInterrupt:
        return _away.Returned(error=Interrupted("stopped"))
    except Exception as error:  # what the call needs is not installed here
        return _away.Returned(error=ValueError(f"a Dask worker cannot run it: {error}"))


def _outlive_nobody() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(call: str, answer: str) -> None:
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    returned = _answered(Path(call))
    unfinished = Path(f"{answer}.tmp")
    unfinished.write_bytes(cloudpickle.dumps(returned))
    unfinished.rename(answer)
    sys.stdout.flush()
    os._exit(0)  # the thread holds the lock of standard input, which the usual end waits for


if __name__ == "__main__":
    main(*sys.argv[1:])
