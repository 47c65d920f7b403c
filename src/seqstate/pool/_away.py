"""What a run takes along to another machine and what comes back, whether or not files are shared.

A run whose folder is seen from there works in it, and goes on from its checkpoint if its worker is lost.
Elsewhere it works in the cache, and its folder travels as bytes: there with what it has, back when it ends.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqstate.core.record import write_atomic
from seqstate.errors import Interrupted
from seqstate.pool._pool import Task
from seqstate.text import cache as on_disk

Files = dict[str, bytes]  # by path inside a folder, in the order they were written


@dataclass(frozen=True)
class Sent:
    """A corpus that another machine opens. folder: where it lies at home. fetch: gives its files."""

    folder: Path
    name: str
    fetch: Callable[[], Files]

    def open(self) -> Any:
        from seqstate.text.store import open_corpus

        return open_corpus(settled(self.folder, self.fetch), self.name)


@dataclass(frozen=True)
class Parcel:
    """A call on its way. mark: what stands in a file beside its folder, for those who see our files."""

    function: Callable[..., Any]
    task: Task
    corpora: Mapping[str, Sent]
    files: Files
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, function: Callable[..., Any], task: Task, corpora: Mapping[str, Sent]) -> Parcel:
        parcel = cls(function, task, corpora, read_files(task.folder))
        write_atomic(parcel.sign, parcel.mark.encode())
        return parcel

    @property
    def sign(self) -> Path:
        return self.task.folder.with_name(f".{self.task.folder.name}.here")

    def seen(self) -> bool:
        try:
            return self.sign.read_text() == self.mark
        except OSError:
            return False

    def withdraw(self) -> None:
        self.sign.unlink(missing_ok=True)

    def settle(self, returned: Returned) -> Any:
        """At home: put what came back into its place; return the value, or raise what was raised."""
        if returned.files is not None:
            write_files(returned.files, self.task.folder)
            for name in self.files.keys() - returned.files.keys():
                (self.task.folder / name).unlink(missing_ok=True)
        if returned.error is not None:
            raise returned.error
        return returned.value


@dataclass
class Returned:
    """What came of a call. files: None where they are in place. lost: its process died."""

    value: Any = None
    error: BaseException | None = None
    files: Files | None = None
    lost: bool = False


def run(parcel: Parcel) -> Returned:
    """On the other machine: make the call."""
    if parcel.seen():
        return _called(parcel, parcel.task.folder)
    with workspace() as place:
        folder = place / parcel.task.folder.name
        write_files(parcel.files, folder)
        returned = _called(parcel, folder)
        returned.files = read_files(folder)
        return returned


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder in the cache for as long as the block lasts; those of killed processes go after a day."""
    root = on_disk.cache_folder() / "away"
    with on_disk.writing(root):
        place = Path(tempfile.mkdtemp(prefix=".", dir=root))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _called(parcel: Parcel, folder: Path) -> Returned:
    try:
        corpora = {key: sent.open() for key, sent in parcel.corpora.items()}
        return Returned(parcel.function(corpora, folder, *parcel.task.arguments))
    except KeyboardInterrupt:
        return Returned(error=Interrupted("stopped"))
    except Exception as error:
        return Returned(error=_portable(error, str(folder), str(parcel.task.folder)))


def _portable(error: Exception, there: str, home: str) -> Exception:
    """The error as it shall be raised at home: it speaks of the folder there, and can be sent."""
    told = traceback.format_exc()
    error.args = tuple(
        part.replace(there, home) if isinstance(part, str) else part for part in error.args
    )
    error.add_note(f"on another machine:\n{told}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def settled(folder: Path, fetch: Callable[[], Files]) -> Path:
    """Where a prepared corpus lies on this machine: at its own place, or in the cache, fetched once."""
    root = on_disk.cache_folder() / "corpora"
    place = root / folder.name  # named by the hash of what is in it
    if on_disk.whole(folder):
        return folder
    if not on_disk.whole(place):
        with on_disk.writing(root), on_disk.made(place) as unfinished:
            write_files(fetch(), unfinished)
    return place


def read_files(folder: Path) -> Files:
    """All files below a folder, oldest first; nothing where there is none."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    paths.sort(key=lambda path: path.stat().st_mtime_ns)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_files(files: Files, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)
