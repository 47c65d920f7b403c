"""Folders on disk that appear whole or not at all, and can be deleted at any time."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED = 24 * 3600  # seconds after which a half-made folder is nobody's
META = "meta.json"  # lists the sizes of the other files under "sizes"


def cache_folder() -> Path:
    """$SEQSTATE_CACHE, or seqstate below $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("SEQSTATE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seqstate"


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """What the disk refuses below `root` becomes one line; half-made folders of the dead are removed."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write the cache {root}: {error.strerror or error}; "
            "choose another folder with SEQSTATE_CACHE"
        ) from error


def _sweep(root: Path) -> None:
    for left in root.glob(".*"):
        with suppress(FileNotFoundError):  # another process sweeps too
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def made(folder: Path) -> Iterator[Path]:
    """An unfinished folder that takes its place when the block ends well, unless another was quicker."""
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        try:
            unfinished.rename(folder)
        except OSError:  # there is one
            if not whole(folder):
                shutil.rmtree(folder)
                unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sizes(folder: Path) -> dict[str, int]:
    """The files of a folder and their bytes."""
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}


def whole(folder: Path) -> bool:
    """Whether every file the folder lists is there at its full size."""
    try:
        listed = json.loads((folder / META).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in listed.items())
    except (OSError, ValueError, KeyError):
        return False
