"""A text that can be read again and again (files, a copied pipe, the default corpus), its name and digest."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from seqstate.core.record import write_json
from seqstate.text.cache import META, made, sizes, whole
from seqstate.text.chunks import Piece
from seqstate.text.default import default_documents, default_fingerprint, default_name
from seqstate.text.pairs import Fields
from seqstate.text.sources import SUFFIXES, Source, check_reading, find, read, readable

# file names that say less than their folder's
PLAIN_NAMES = {"all", "corpus", "data", "input", "part", "test", "text", "train", "valid"}


@dataclass(frozen=True)
class Reading:
    """How files are read: see text.sources.documents."""

    field: str | None = None
    encoding: str = "utf-8"
    errors: str = "strict"
    pairs: Fields | None = None


class Text:
    """paths: files, folders, globs, `-`; none: the default corpus, kept below `folder`. Pipes are copied
    there first, until `closing` closes.
    """

    def __init__(
        self, paths: Sequence[str], reading: Reading, *, folder: Path, closing: ExitStack
    ) -> None:
        check_reading(reading.encoding, reading.errors)
        self.reading = reading if paths else Reading()
        self.name = name_of(paths) if paths else default_name()
        sources = find(paths, field=reading.field) if paths else [_default(folder)]
        self.files = {s.path and os.path.realpath(s.path): s.name for s in sources}
        self.sources = [_copied(s, folder, closing) if s.once else s for s in sources]

    @property
    def treebank(self) -> bool:
        """Whether its documents are the words of trees."""
        return self.sources[0].format == "trees"

    def pieces(self) -> Iterator[Piece]:
        """The documents, from the first."""
        empty, how = True, self.reading
        for source in self.sources:
            for piece in read(source, **vars(how)):
                empty = False
                yield piece
        if empty:
            raise ValueError(f"there is no text in {', '.join(s.name for s in self.sources)}")

    def digest(self) -> list[str]:
        """Tells texts apart by content and format, not by place or name."""
        marks = [str(self.reading)]
        for source in self.sources:
            with readable(source.name), open(source.path or os.devnull, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            marks.append(f"{source.format} {source.packed} {content}")
        return marks

    def refuse_shared(self, other: Text) -> None:
        """Raise ValueError if a file is in both texts."""
        for file in self.files.keys() & other.files.keys():
            raise ValueError(f"{self.files[file]} is both training and held-out text")


def name_of(paths: Sequence[str]) -> str:
    """A short name for a corpus: of its first file or folder, and how many more were given."""
    first = Path(paths[0]).expanduser()
    if paths[0] == "-":
        name = "stdin"
    elif glob.has_magic(paths[0]) and not first.exists():
        plain = [part for part in first.parts if not glob.has_magic(part)]
        name = Path(*plain).resolve().name
    elif first.is_dir():
        name = first.resolve().name
    else:
        suffix = next((end for end in SUFFIXES if first.name.lower().endswith(end)), first.suffix)
        name = first.name[: len(first.name) - len(suffix)]
        if name.lower() in PLAIN_NAMES:
            name = first.resolve().parent.name or name
    more = f"+{len(paths) - 1}" if len(paths) > 1 else ""
    return (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "text") + more


def _default(folder: Path) -> Source:
    """The default corpus as a file: reading it out of Python's sources takes seconds."""
    place = folder / f"default-{default_fingerprint()[:32]}"
    if not whole(place):
        with made(place) as unfinished:
            with open(unfinished / "documents.jsonl", "w", encoding="utf-8") as file:
                for piece in default_documents():
                    file.write(json.dumps({"text": piece.text}) + "\n")
            write_json(unfinished / META, {"sizes": sizes(unfinished)})
    return Source(default_name(), place / "documents.jsonl", "jsonl")


def _copied(source: Source, folder: Path, closing: ExitStack) -> Source:
    """A pipe as a file, which can be read again."""
    place = closing.enter_context(tempfile.TemporaryDirectory(prefix=".pipe-", dir=folder))
    raw = replace(source, packed=False)
    with readable(source.name), raw.open() as pipe, open(Path(place, "copy"), "wb") as copy:
        shutil.copyfileobj(pipe, copy, 1 << 20)
    return replace(source, path=Path(place, "copy"))
