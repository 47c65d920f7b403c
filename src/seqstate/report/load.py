"""Reading records: folders or run.json files in, a list of different runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from seqstate.core.record import Run
from seqstate.report.summary import distinct


def load_runs(paths: Sequence[Path | str]) -> list[Run]:
    """The runs of some run.json files and of all under some folders; of equal keys, the newest.

    Raises ValueError, in one line, for a path without records and for a file that is not a record.
    """
    if not paths:
        raise ValueError(
            "no path given; give folders that compare or train wrote, or run.json files"
        )
    return distinct([_read(file) for path in paths for file in _records(Path(path))])


def _records(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(path.rglob("run.json"))
        if not found:
            raise ValueError(f"no run.json under {path}; give a folder that compare or train wrote")
        yield from found
    elif path.exists():
        yield path
    else:
        raise ValueError(f"no such file or folder: {path}; give a run.json or a folder of them")


def _read(path: Path) -> Run:
    try:
        run = Run.load(path)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    wrong = _malformed(run)
    if wrong:
        raise ValueError(f"{path} is not a run record: {wrong}")
    return run


def _malformed(run: Run) -> str | None:
    """What a record edited by hand has wrong, or None. Run.load checks the names of the fields only."""
    wanted = {
        "curve": list,
        "sample": str,
        "surprise": dict,
        "corpus": dict,
        "versions": dict,
        "machine": dict,
        "command": str,
        "finished": str,
    }
    for name, kind in wanted.items():
        if not isinstance(getattr(run, name), kind):
            return f"{name} is {type(getattr(run, name)).__name__}, wanted {kind.__name__}"
    for reading in run.readings:
        if isinstance(reading.value, bool) or not isinstance(reading.value, int | float):
            return f"reading {reading.name} is {reading.value!r}, wanted a number"
    if not all(isinstance(point, dict) for point in run.curve):
        return "curve wants one object a validation"
    surprise = run.surprise
    if surprise and not len(surprise.get("text", [])) == len(surprise.get("nats", [])) > 0:
        return "surprise wants as many nats as tokens in text"
    return None
