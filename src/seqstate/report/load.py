"""Reading records: folders or run.json files in, a list of different runs out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqstate.core.record import FORMAT, Run
from seqstate.report.summary import distinct

KINDS = {
    "readings": list,
    "curve": list,
    "sample": str,
    "surprise": dict,
    "corpus": dict,
    "versions": dict,
    "machine": dict,
    "command": str,
    "finished": str,
}
TUNING = "tuning"  # compare's folder of trial runs


def load_runs(paths: Sequence[Path | str]) -> list[Run]:
    """The runs of some run.json files and of all under some folders; of equal keys, the newest.

    The short runs with which a comparison chose its learning rates (its folder `tuning`) are not part of
    it: they are read only from a path inside that folder.

    Raises ValueError, in one line, for a path without records and for a file that is not a record.
    """
    if not paths:
        raise ValueError(
            "no path given; give folders that compare or train wrote, or run.json files"
        )
    return distinct([_read(file) for path in paths for file in _records(Path(path))])


def _records(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = [file for file in sorted(path.rglob("run.json")) if not _tuned(file, path)]
        if not found:
            raise ValueError(f"no run.json under {path}; give a folder that compare or train wrote")
        yield from found
    elif path.exists():
        yield path
    else:
        raise ValueError(f"no such file or folder: {path}; give a run.json or a folder of them")


def _tuned(file: Path, folder: Path) -> bool:
    return TUNING in file.relative_to(folder).parts


def _read(path: Path) -> Run:
    try:
        wrong = _malformed(path.read_bytes())
        if wrong:
            raise ValueError(f"{path} is not a run record: {wrong}")
        return Run.load(path)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None


def _malformed(content: bytes) -> str | None:
    """What a record edited by hand has wrong, or None; the names of its fields are for Run.load to check."""
    try:
        record = json.loads(content)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return None
    for name, kind in KINDS.items():
        if name in record and not isinstance(record[name], kind):
            return f"{name} is {type(record[name]).__name__}, wanted {kind.__name__}"
    for reading in record.get("readings", []):
        value = reading.get("value") if isinstance(reading, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"a reading wants a number as its value, found {value!r}"
    if not all(isinstance(point, dict) for point in record.get("curve", [])):
        return "curve wants one object a validation"
    surprise = record.get("surprise")
    if surprise and not len(surprise.get("text", [])) == len(surprise.get("nats", [])) > 0:
        return "surprise wants as many nats as tokens in text"
    return None
