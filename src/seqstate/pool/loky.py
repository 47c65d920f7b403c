"""Loky: processes on this machine, one a run at a time. Part of the package's own requirements.

Each process has an executor of its own, so that one that is killed takes no other run with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from seqstate.errors import Interrupted, Lost
from seqstate.pool._pool import Pool, Task


class Loky(Pool):
    def __init__(self, *, jobs: int, threads: int, address: str | None) -> None:
        if address:
            raise ValueError(
                f"the backend loky runs on this machine alone, but --cluster {address} was given; "
                "choose --backend ray or dask"
            )
        self._slots = jobs or os.cpu_count() or 1
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future, ProcessPoolExecutor] = {}

    @property
    def slots(self) -> int:
        return self._slots

    def submit(
        self, function: Callable[..., Any], task: Task, corpora: Mapping[str, Any]
    ) -> Future:
        if self._idle:
            executor = self._idle.pop()
        else:
            executor = ProcessPoolExecutor(1, initializer=_stand_alone, initargs=(os.getpid(),))
        future = executor.submit(_call, function, task, corpora)
        self._busy[future] = executor
        return future

    def wait(self, handles: Sequence[Future], seconds: float) -> list[Future]:
        return list(wait(handles, seconds, FIRST_COMPLETED).done)

    def result(self, handle: Future) -> Any:
        executor = self._busy.pop(handle)
        try:
            result = handle.result()
        except BrokenProcessPool:
            executor.shutdown(kill_workers=True)
            raise Lost("its process ended") from None
        except BaseException:
            self._idle.append(executor)
            raise
        self._idle.append(executor)
        return result

    def stop(self, handles: Sequence[Future]) -> None:
        for handle in handles:
            for pid in list(self._busy[handle]._processes):
                with suppress(ProcessLookupError):  # it is lost, which is not why we stop
                    os.kill(pid, signal.SIGINT)

    def close(self) -> None:
        for executor in [*self._idle, *self._busy.values()]:
            executor.shutdown(kill_workers=True)
        self._idle, self._busy = [], {}


def _call(function: Callable[..., Any], task: Task, corpora: Mapping[str, Any]) -> Any:
    try:
        return function(corpora, task.folder, *task.arguments)
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None


def _stand_alone(parent: int) -> None:
    """In a new process: only `stop` interrupts it, and it does not outlive its parent."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C would come besides, and a second one lets nobody save

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
