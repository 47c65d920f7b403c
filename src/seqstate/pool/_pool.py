"""Contract of an engine: it runs calls in processes of their own and says which are done or lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One call. name: for people. folder: where it keeps its files, its own. arguments: the rest of it."""

    name: str
    folder: Path
    arguments: tuple = ()


class Pool(ABC):
    """Where runs go; a context manager. Constructed from jobs, threads and address (see open_pool)."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many calls may be under way now; at least 1."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], task: Task, corpora: Mapping[str, Any]) -> Any:
        """Begin `function(corpora, folder, *task.arguments)` somewhere; returns a hashable handle."""

    @abstractmethod
    def wait(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Those that ended, as soon as there is one; none when the time is over."""

    @abstractmethod
    def result(self, handle: Any) -> Any:
        """What an ended call returned, its files in place. Raises what it raised; errors.Lost."""

    @abstractmethod
    def stop(self, handles: Sequence[Any]) -> None:
        """Ask calls under way to save and end, as Ctrl-C does."""

    @abstractmethod
    def close(self) -> None:
        """End all processes this pool began."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
