"""Pairs of a source and a target: documents `source TAB target`, read from .tsv and .jsonl.

A pair is one document whose only tab ends the source, so everything that reads documents reads pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seqstate.text.chunks import Piece
from seqstate.text.tokenizer import TextCodec

TAB = "\t"
SUFFIXES = (".tsv", ".tsv.gz")
FIELDS = ("source", "target")
Fields = tuple[str, str]


def pair_fields(paths: Sequence[str | Path], asked: str | None) -> Fields | None:
    """The two fields of pairs: those asked for, or the usual ones if all files are .tsv; None: plain text.

    Raises ValueError for anything but two names, and for .tsv files among others.
    """
    if asked is not None:
        names = tuple(name.strip() for name in asked.split(","))
        if len(names) != 2 or not all(names):
            raise ValueError(f"--pairs {asked!r} is not two fields; write --pairs source,target")
        return names[0], names[1]
    tables = [str(path) for path in paths if str(path).lower().endswith(SUFFIXES)]
    if not tables:
        return None
    if len(tables) < len(paths):
        raise ValueError(
            f"{tables[0]} holds pairs, other files are plain text; give one kind, or --pairs source,target"
        )
    return FIELDS


def of_columns(lines: Iterable[str], name: str) -> Iterator[Piece]:
    """The documents of lines of two columns; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where, columns = f"{name}, line {number:,}", line.split(TAB)
        if len(columns) != 2:
            found = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
            raise ValueError(
                f"{where} has {found}; wanted 2, a source and a target with a tab between them"
            )
        yield _document(columns[0], columns[1], where)


def of_rows(rows: Iterable[tuple[str, dict[str, Any]]], fields: Fields) -> Iterator[Piece]:
    """The documents of JSON objects, each with where it stands."""
    for where, row in rows:
        for field in fields:
            if field not in row:
                has = ", ".join(row) or "none"
                raise ValueError(
                    f"{where} has no field {field!r}; it has {has}; choose with --pairs SOURCE,TARGET"
                )
            if not isinstance(row[field], str):
                kind = type(row[field]).__name__
                raise ValueError(f"{where}: field {field!r} is a {kind}, not text")
            if TAB in row[field]:
                raise ValueError(
                    f"{where}: field {field!r} holds a tab, which parts source and target; replace it"
                )
        yield _document(row[fields[0]], row[fields[1]], where)


def _document(source: str, target: str, where: str) -> Piece:
    source, target = source.strip(), target.strip()
    for side, text in (("source", source), ("target", target)):
        if not text:
            raise ValueError(f"{where}: the {side} is empty")
    try:
        return Piece(f"{source}{TAB}{target}".encode().decode(), True)
    except UnicodeEncodeError:
        raise ValueError(f"{where} has half a surrogate pair, which is no text") from None


def source_of(document: str) -> str:
    """The source of a pair's document."""
    return document.partition(TAB)[0]


def separator_of(tokenizer: TextCodec) -> int:
    """The token that is a tab. Raises ValueError for a tokeniser that has none."""
    ids = tokenizer.encode(TAB)
    if len(ids) != 1 or ids[0] == tokenizer.unknown:
        raise ValueError(
            "this tokenizer has no token for a tab alone, which parts source and target; "
            "let one be learnt from the pairs (--tokenizer char)"
        )
    return int(ids[0])
