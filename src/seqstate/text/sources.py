"""Documents from files, folders, globs and standard input, streamed: no file is ever held whole.

.txt, .md and their .gz: one document a file. .jsonl (.gz): one document a line, from a field. .parquet: one a
row, read through duckdb. .tsv (.gz), where pairs are asked for: one a line (see text.pairs). .ptb, .tree and
.mrg (.gz): the words of one tree (see text.trees). Any other suffix is read as text if it is text. Line ends
become "\\n" and a leading byte order mark goes, as in Python's text mode; strings in .jsonl and .parquet are
taken as they are.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqstate.text import trees
from seqstate.text.chunks import Piece
from seqstate.text.pairs import Fields, of_columns, of_rows

SUFFIXES = (".txt", ".md", ".jsonl", ".txt.gz", ".md.gz", ".jsonl.gz", ".parquet", *trees.SUFFIXES)
ERRORS = ("strict", "replace", "ignore", "backslashreplace")
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """One file. name: as the user wrote it. path: what is opened, None for standard input."""

    name: str
    path: Path | None
    format: str  # text, jsonl, parquet or trees
    packed: bool = False

    @property
    def once(self) -> bool:
        """Whether it can be read only once (a pipe)."""
        return self.path is None or not stat.S_ISREG(self.path.stat().st_mode)

    def open(self) -> AbstractContextManager[Any]:
        """The raw bytes, unpacked if need be; standard input stays open."""
        if self.path is None:
            return nullcontext(sys.stdin.buffer)
        return gzip.open(self.path, "rb") if self.packed else open(self.path, "rb")


def documents(
    paths: Sequence[str | Path],
    *,
    field: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    pairs: Fields | None = None,
) -> Iterator[Piece]:
    """All documents of files, folders (recursive), globs and `-` (standard input), as pieces.

    field: what holds the text in .jsonl and .parquet (default "text"); standard input is read as .jsonl when
    it is given. pairs: two fields that hold source and target (the two columns of what is not .jsonl).
    errors: strict, replace, ignore or backslashreplace. Raises ValueError, in one line, for
    what is absent, empty, binary, not in the encoding, or not in the format.
    """
    check_reading(encoding, errors)
    if not paths:
        raise ValueError("no text was given; name files, folders, globs or - (standard input)")
    found = False
    for source in find(paths, field=field):
        for piece in read(source, field=field, encoding=encoding, errors=errors, pairs=pairs):
            found = True
            yield piece
    if not found:
        raise ValueError(f"there is no text in {', '.join(map(str, paths))}")


def check_reading(encoding: str, errors: str) -> None:
    """Refuse encodings and error handlers there are not, before any file is opened."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    except LookupError:
        raise ValueError(
            f"unknown --encoding {encoding!r}; common ones are utf-8, utf-16, latin-1, gb18030"
        ) from None
    if errors not in ERRORS:
        raise ValueError(f"unknown --errors {errors!r}; there are {', '.join(ERRORS)}")


def find(paths: Sequence[str | Path], *, field: str | None = None) -> list[Source]:
    """The files that paths mean, in order, each once. Folders and globs are sorted; empty files in them,
    and in folders hidden files and unknown suffixes, are passed over.
    """
    sources: dict[str, Source] = {}
    for path in map(str, paths):
        with readable(path):
            expanded = _expand(path, field)
        for source in expanded:
            sources.setdefault(
                "-" if source.path is None else os.path.realpath(source.path), source
            )
    _refuse_mixed(list(sources.values()))
    return list(sources.values())


def _refuse_mixed(sources: list[Source]) -> None:
    treebank = [source for source in sources if source.format == "trees"]
    if 0 < len(treebank) < len(sources):
        other = next(source for source in sources if source.format != "trees")
        raise ValueError(
            f"{treebank[0].name} holds trees, {other.name} does not; give one kind "
            f'(of a folder, "*{Path(treebank[0].name).suffix}")'
        )


def _expand(path: str, field: str | None) -> list[Source]:
    if path == "-":
        return [Source("standard input", None, "text" if field is None else "jsonl")]
    place = Path(path).expanduser()
    if place.is_dir():
        names = [name for name in _walk(place) if name.name.lower().endswith(SUFFIXES)]
        return _filled(names, f"folder {path} holds no filled {', '.join(SUFFIXES)} file")
    if place.exists():
        if stat.S_ISREG(place.stat().st_mode) and not place.stat().st_size:
            raise ValueError(f"{path} is empty")
        return [_source(place)]
    if glob.has_magic(path):
        matches = map(Path, sorted(glob.glob(str(place), recursive=True)))
        names = [
            name for match in matches for name in (_walk(match) if match.is_dir() else [match])
        ]
        return _filled(names, f"no filled file matches {path}")
    raise ValueError(f"no such file or folder: {path}")


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _filled(names: Iterable[Path], otherwise: str) -> list[Source]:
    sources = [_source(name) for name in names if name.is_file() and name.stat().st_size]
    if not sources:
        raise ValueError(otherwise)
    return sources


def _source(path: Path) -> Source:
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    format = next((kind for kind in ("jsonl", "parquet") if plain.endswith(f".{kind}")), "text")
    format = "trees" if name.endswith(trees.SUFFIXES) else format
    return Source(str(path), path, format, packed=name.endswith(".gz"))


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what the system and gzip say of a file into one line."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is no whole gzip file: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {name}: {error.strerror or error}") from None


def read(
    source: Source,
    *,
    field: str | None,
    encoding: str,
    errors: str,
    pairs: Fields | None = None,
) -> Iterator[Piece]:
    """The documents of one file, as `documents`; a file without text gives none."""
    with readable(source.name):
        if source.format == "parquet":
            if pairs:
                raise ValueError(f"{source.name}: pairs are read from .tsv and .jsonl, not parquet")
            yield from _read_parquet(source, field or "text", errors)
            return
        with source.open() as file:
            texts = _decode(file.read, source.name, encoding, errors)
            if source.format == "trees":
                if pairs:
                    raise ValueError(
                        f"{source.name} holds trees; pairs are read from .tsv and .jsonl"
                    )
                for tree in trees.of_lines(_lines(texts), source.name):
                    yield Piece(trees.sentence(tree), True, tree)
                return
            if pairs and source.format == "jsonl":
                yield from of_rows(_rows(texts, source.name, pairs[0]), pairs)
                return
            if pairs:
                yield from of_columns(_lines(texts), source.name)
                return
            if source.format == "jsonl":
                yield from _read_lines(texts, source.name, field or "text", errors)
                return
            starts = True
            for text in texts:
                yield Piece(text, starts)
                starts = False


def _decode(
    read_bytes: Callable[[int], bytes], name: str, encoding: str, errors: str
) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    at, line, ended = 0, 1, False
    while not ended:
        data = read_bytes(READ_BYTES)
        ended = not data
        if at == 0 and codecs.lookup(encoding).name == "utf-8" and data.startswith(codecs.BOM_UTF8):
            data, at = data[3:], 3
        if not wide and b"\0" in data:
            raise ValueError(_binary(name, data, at))
        before = at - len(decoder.getstate()[0])
        try:
            text = newlines.decode(decoder.decode(data, final=ended), final=ended)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "ignore").count("\n")
            raise ValueError(
                f"{name} is not {encoding} at byte {before + error.start:,} (line {line:,}): "
                f"0x{error.object[error.start]:02x}; try another --encoding or --errors replace"
            ) from None
        if "\0" in text:
            raise ValueError(
                f"{name} is a binary file (a zero character at line {line:,}), not text"
            )
        at, line = at + len(data), line + text.count("\n")
        if text:
            yield text


def _binary(name: str, data: bytes, at: int) -> str:
    if at == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"{name} begins like UTF-16; read it with --encoding utf-16"
    zero = at + data.index(b"\0")
    return f"{name} is a binary file (a zero byte at {zero:,}), not text"


def _read_lines(texts: Iterator[str], name: str, field: str, errors: str) -> Iterator[Piece]:
    for where, row in _rows(texts, name, field):
        if field not in row:
            raise ValueError(_no_field(where, field, row))
        yield from _document(row[field], where, field, errors)


def _rows(texts: Iterator[str], name: str, field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a .jsonl and where each stands."""
    for number, line in enumerate(_lines(texts), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number:,}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is no JSON: {error.msg} at column {error.colno}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where} is no JSON object with a field {field!r}")
        yield where, row


def _lines(texts: Iterator[str]) -> Iterator[str]:
    parts: list[str] = []
    for text in texts:
        *whole, rest = text.split("\n")
        for line in whole:
            yield "".join([*parts, line])
            parts = []
        parts.append(rest)
    yield "".join(parts)


def _read_parquet(source: Source, field: str, errors: str) -> Iterator[Piece]:
    import duckdb

    if source.path is None or source.packed:
        raise ValueError(f"{source.name}: parquet is read from a plain file")
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            table = connection.read_parquet(glob.escape(str(source.path)))
        except duckdb.Error as error:
            why = str(error).partition("\n")[0]
            raise ValueError(f"{source.name} is no parquet file: {why}") from None
        if field not in table.columns:
            raise ValueError(_no_field(source.name, field, table.columns))
        column = field.replace('"', '""')
        rows = connection.execute(
            f'SELECT "{column}" FROM read_parquet(?)', [glob.escape(str(source.path))]
        )
        number = 0
        while some := rows.fetchmany(256):
            for (value,) in some:
                number += 1
                yield from _document(value, f"{source.name}, row {number:,}", field, errors)


def _document(value: Any, where: str, field: str, errors: str) -> Iterator[Piece]:
    """One string as a document; none for null and ""."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}: field {field!r} is a {type(value).__name__}, not text")
    if not value:
        return
    try:
        yield Piece(value.encode("utf-8", errors).decode("utf-8"), True)
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X}"
        raise ValueError(
            f"{where}: field {field!r} has half a surrogate pair ({half}); try --errors replace"
        ) from None


def _no_field(where: str, field: str, fields: Iterable[str]) -> str:
    return (
        f"{where} has no field {field!r}; it has {', '.join(fields) or 'none'}; choose with --field"
    )
