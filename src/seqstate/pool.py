"""Many runs side by side, each in a process of its own, and one way to stop them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import Any

from seqstate.errors import Interrupted

GRACE_SECONDS = 30.0  # for work under way to come to a good end after Ctrl-C
TICK_SECONDS = 0.5


def side_by_side(
    function: Callable[..., Any],
    tasks: Iterable[tuple],
    *,
    jobs: int,
    done: Callable[[Any], None],
    tick: Callable[[], None] | None = None,
) -> None:
    """Call `function(*task)` for every task, `jobs` at a time, in the tasks' order; `done` gets each result.

    tick: called twice a second meanwhile. Raises what `function` raised, when nothing is under way any more.
    Ctrl-C reaches the processes too: what is under way may end well, nothing new begins; raises Interrupted.
    """
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=jobs)
    waiting, running = iter(tasks), set[Future]()
    try:
        while True:
            free = jobs - len(running)
            running |= {executor.submit(_call, function, task) for task in islice(waiting, free)}
            if not running:
                return
            ended, running = wait(running, TICK_SECONDS, FIRST_COMPLETED)
            for future in ended:
                done(future.result())
            if tick:
                tick()
    except BaseException as error:
        try:
            wait(running, GRACE_SECONDS)
        finally:
            executor.shutdown(kill_workers=True)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted("stopped") from None
        raise


def _call(function: Callable[..., Any], task: tuple) -> Any:
    try:
        return function(*task)
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None
