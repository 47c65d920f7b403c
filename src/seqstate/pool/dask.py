"""Dask: processes on a Dask cluster, found by its scheduler's address, or on one inside this process.

A worker there runs tasks in threads; here each run has a process to itself all the same (pool._child): no
other disturbs its random numbers, and it can be interrupted. Corpora are sent once a worker.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import distributed
from distributed import Client, Event, Future, KilledWorker, LocalCluster, WorkerPlugin

from seqstate.errors import Lost
from seqstate.pool import _away, _child
from seqstate.pool._pool import Pool, Task
from seqstate.pool._reach import check_address

CONNECT_SECONDS = 15


class Dask(Pool):
    def __init__(self, *, jobs: int, threads: int, address: str | None) -> None:
        self._jobs, self._threads, self._cluster = jobs, threads, None
        self._parcels: dict[Future, _away.Parcel] = {}
        self._plugins: list[str] = []
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is told of here
        address = address or distributed.config.get("scheduler-address", None)
        if address:
            check_address(address, "Dask")
        else:
            count = jobs or max(1, (os.cpu_count() or 1) // threads)
            inside = {"processes": False, "dashboard_address": None}
            self._cluster = LocalCluster(n_workers=1, threads_per_worker=count * threads, **inside)
        try:
            self._client = Client(address or self._cluster, timeout=CONNECT_SECONDS)
        except (OSError, RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())
            raise ValueError(f"cannot use the Dask cluster {address}: {told}") from None
        self._stopped = Event(f"seqstate-stop-{uuid.uuid4().hex}", self._client)
        self._register(Keeper(), f"{self._stopped.name}-keeper")
        if not jobs and not self._client.nthreads():
            self.close()
            raise ValueError(f"the Dask cluster {address} has no workers yet; begin some")

    @property
    def slots(self) -> int:
        return self._jobs or max(1, sum(self._client.nthreads().values()) // self._threads)

    def submit(
        self, function: Callable[..., Any], task: Task, corpora: Mapping[str, Any]
    ) -> Future:
        sent = {key: self._sent(corpus) for key, corpus in corpora.items()}
        parcel = _away.Parcel.of(function, task, sent)
        future = self._client.submit(_run, parcel, self._stopped.name, pure=False)
        self._parcels[future] = parcel
        return future

    def _sent(self, corpus: Any) -> _away.Sent:
        name = f"seqstate-{corpus.folder.name}"
        if name not in self._plugins:
            self._register(Delivery(corpus.folder, _away.read_files(corpus.folder)), name)
        return _away.Sent(corpus.folder, corpus.name, partial(_undelivered, corpus.folder))

    def _register(self, plugin: WorkerPlugin, name: str) -> None:
        self._client.register_plugin(plugin, name=name)
        self._plugins.append(name)

    def wait(self, handles: Sequence[Future], seconds: float) -> list[Future]:
        with suppress(TimeoutError, CancelledError):  # cancelled: the scheduler is gone
            distributed.wait(handles, seconds, return_when="FIRST_COMPLETED")
        return [handle for handle in handles if handle.done()]

    def result(self, handle: Future) -> Any:
        parcel = self._parcels.pop(handle)
        try:
            returned = handle.result()
        except KilledWorker as killed:  # Dask tried it again and again itself
            raise Lost("its worker died", times=killed.allowed_failures + 1) from None
        except Exception as error:
            if self._gone:
                raise ConnectionError(
                    "the Dask scheduler is gone; what came back is kept, the same command goes on"
                ) from None
            told = " ".join(str(error).split())
            raise ValueError(f"Dask cannot run {parcel.task.name}: {told}") from None
        finally:
            parcel.withdraw()
        if returned.lost:
            raise Lost("its process ended")
        return parcel.settle(returned)

    @property
    def _gone(self) -> bool:
        """Whether the scheduler is: the client has given up on it."""
        return self._client.status != "running"

    def stop(self, handles: Sequence[Future]) -> None:
        if not self._gone:
            self._stopped.set()

    def close(self) -> None:
        for name in self._plugins if not self._gone else ():
            self._client.unregister_worker_plugin(name)
        self._client.close()
        if self._cluster:
            self._cluster.close()


class Delivery(WorkerPlugin):
    """Brings a corpus to every worker, and to those that come later."""

    def __init__(self, folder: Path, files: _away.Files) -> None:
        self.folder, self.files = folder, files

    def setup(self, worker: Any) -> None:
        _away.settled(self.folder, lambda: self.files)
        self.files = {}


class Keeper(WorkerPlugin):
    """Sends the processes of every worker home at the end."""

    def teardown(self, worker: Any) -> None:
        _child.end_idle()


def _undelivered(folder: Path) -> _away.Files:
    raise ValueError(f"the corpus {folder.name} is no longer in the cache of a Dask worker")


def _run(parcel: _away.Parcel, stop: str) -> _away.Returned:
    """On a worker, in one of its threads."""
    stopped = Event(stop)
    return _child.run(parcel, stopped=lambda: stopped.is_set())
