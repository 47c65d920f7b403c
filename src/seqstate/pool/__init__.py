"""Many runs side by side, on the processors here or on a cluster, and one way to stop them all.

    with open_pool("loky", jobs=2) as pool:
        side_by_side(function, tasks, corpora, pool=pool, done=keep)

Every other file here is one engine: a class named like the file, with the contract of pool._pool.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from seqstate.errors import Interrupted, Lost
from seqstate.pool._pool import Pool, Task

__all__ = ["Pool", "Task", "engines", "open_pool", "side_by_side"]

GRACE_SECONDS = 30.0  # for work under way to come to a good end after Ctrl-C
TICK_SECONDS = 0.5
RETRIES = 2  # of a run whose worker was lost; a third loss is the run's own doing


def engines() -> list[str]:
    """Names for `open_pool`: the files of this folder."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def open_pool(engine: str, *, jobs: int = 0, threads: int = 1, address: str | None = None) -> Pool:
    """A pool for `jobs` runs at a time, of `threads` processor threads each; 0: as many as fit.

    address: of a running cluster, as its engine writes it; None: processes on this machine.
    Raises ValueError, in one line, for an engine that is not installed and a cluster that does not answer.
    """
    if engine not in engines():
        raise ValueError(f"no backend {engine!r}: there are {', '.join(engines())}")
    try:
        module = import_module(f"seqstate.pool.{engine}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the backend {engine} needs the package {error.name}: pip install "seqstate[cluster]"'
        ) from None
    return getattr(module, engine.capitalize())(jobs=jobs, threads=threads, address=address)


def side_by_side(
    function: Callable[..., Any],
    tasks: Iterable[Task],
    corpora: Mapping[str, Any] | None = None,
    *,
    pool: Pool,
    done: Callable[[Any], None],
    tick: Callable[[], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Call `function(corpora, task.folder, *task.arguments)` for every task, in their order.

    done: gets each result, in this process, as it comes. tick: called twice a second meanwhile.
    note: told in a line when a worker was lost; its run is called again, twice at most.
    Raises what `function` raised; errors.Lost for a run whose worker is lost a third time. Ctrl-C and
    errors let what is under way save and end, and nothing new begins; Ctrl-C raises Interrupted.
    """
    waiting, running, losses = deque(tasks), {}, Counter()
    corpora = corpora or {}
    try:
        while waiting or running:
            while waiting and len(running) < pool.slots:
                task = waiting.popleft()
                running[pool.submit(function, task, corpora)] = task
            for handle in pool.wait(list(running), TICK_SECONDS):
                task = running.pop(handle)
                try:
                    result = pool.result(handle)
                except Lost as loss:
                    losses[task.folder] += loss.times
                    if losses[task.folder] > RETRIES:
                        raise Lost(_hopeless(task, losses[task.folder])) from None
                    waiting.appendleft(task)
                    if note:
                        note(f"a worker was lost under {task.name}; that run begins again")
                else:
                    done(result)
            if tick:
                tick()
    except BaseException as error:
        _wind_up(pool, list(running), done)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted("stopped") from None
        raise


def _wind_up(pool: Pool, running: list[Any], done: Callable[[Any], None]) -> None:
    """What is under way may end well; what it found is kept, other errors are not told any more."""
    pool.stop(running)
    until = time.monotonic() + GRACE_SECONDS
    while running and time.monotonic() < until:
        for handle in pool.wait(running, TICK_SECONDS):
            running.remove(handle)
            with suppress(Exception):
                done(pool.result(handle))


def _hopeless(task: Task, times: int) -> str:
    return (
        f"{task.name} lost its worker {times} times: killed, or out of memory; "
        "the other runs are kept, the same command tries it again"
    )
