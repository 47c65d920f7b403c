"""Ray: processes on a Ray cluster, found by its address, or on a small one begun on this machine.

A run asks for as many CPUs as it has threads. Corpora go into Ray's object store, once.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports to its makers

import ray
from ray import exceptions

from seqstate.errors import Lost
from seqstate.pool import _away
from seqstate.pool._pool import Pool, Task
from seqstate.pool._reach import check_address

OBJECT_STORE_BYTES = 256 << 20  # of a cluster begun here; what does not fit spills to disk
LOSSES = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)


class Ray(Pool):
    def __init__(self, *, jobs: int, threads: int, address: str | None) -> None:
        self._jobs, self._threads = jobs, threads
        self._refs: dict[str, Any] = {}
        self._parcels: dict[Any, _away.Parcel] = {}
        self._place: str | None = None  # of a cluster begun here
        address = address or os.environ.get("RAY_ADDRESS")
        options = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            check_address(address, "Ray")
        else:
            os.environ.setdefault("RAY_worker_niceness", "0")  # runs are the main job here
            # in /tmp, as Ray does itself: paths of its sockets must be short
            self._place = options["_temp_dir"] = tempfile.mkdtemp(prefix="seqstate-", dir="/tmp")
            address, options["include_dashboard"] = "local", False
            options["object_store_memory"] = OBJECT_STORE_BYTES
            options["num_cpus"] = (jobs or max(1, (os.cpu_count() or 1) // threads)) * threads
        try:
            ray.init(address, **options)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            self.close()
            raise ValueError(f"cannot use the Ray cluster {address}: {_line(error)}") from None
        except BaseException:
            self.close()
            raise
        widest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        if widest < threads:
            self.close()
            raise ValueError(f"no node of {address} has {threads} CPUs; lower --threads")
        # runs are repeated by side_by_side, which counts and tells
        self._run = ray.remote(num_cpus=threads, max_retries=0)(_away.run)

    @property
    def slots(self) -> int:
        return self._jobs or max(1, int(ray.cluster_resources().get("CPU", 0)) // self._threads)

    def submit(self, function: Callable[..., Any], task: Task, corpora: Mapping[str, Any]) -> Any:
        sent = {key: self._sent(corpus) for key, corpus in corpora.items()}
        parcel = _away.Parcel.of(function, task, sent)
        handle = self._run.remote(parcel)
        self._parcels[handle] = parcel
        return handle

    def _sent(self, corpus: Any) -> _away.Sent:
        if corpus.id not in self._refs:
            self._refs[corpus.id] = ray.put(_away.read_files(corpus.folder))
        return _away.Sent(corpus.folder, corpus.name, partial(ray.get, self._refs[corpus.id]))

    def wait(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        return ray.wait(list(handles), num_returns=1, timeout=seconds)[0]

    def result(self, handle: Any) -> Any:
        parcel = self._parcels.pop(handle)
        try:
            returned = ray.get(handle)
        except LOSSES:
            raise Lost("its worker died") from None
        except exceptions.RayError as error:
            raise ValueError(f"Ray cannot run {parcel.task.name}: {_line(error)}") from None
        finally:
            parcel.withdraw()
        return parcel.settle(returned)

    def stop(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            ray.cancel(handle)  # a KeyboardInterrupt there

    def close(self) -> None:
        ray.shutdown()
        if self._place:
            shutil.rmtree(self._place, ignore_errors=True)


def _line(error: BaseException) -> str:
    """What went wrong and why, in a line: Ray puts the remote traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[-1] if lines else type(error).__name__
    return f"{told} ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else told
