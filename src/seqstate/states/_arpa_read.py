"""Reading ARPA files of any tool: a back-off model and the names of its words.

`<s>` and `</s>` become one id, the document boundary. What a file leaves out has the meaning the format
gives it: an absent back-off is 1, an absent n-gram is backed off.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqstate.states._arpa_write import CLOSES, LN10, NEVER, OPENS, Section
from seqstate.states._kneser_ney import Tables
from seqstate.states._ngram_counts import Array, rows_of, word_bits

LIMIT = 1e30  # beyond it a log10 is no longer finite as a float32 natural logarithm


@dataclass(frozen=True)
class Arpa:
    """A model read from a file; `boundary` is -1 if the file has neither `<s>` nor `</s>`."""

    tables: Tables
    words: list[str]
    boundary: int


def read(path: str | Path) -> Arpa:
    """Read a file, compressed or not.

    Raises ValueError with the line's number for a file that is not a whole, consistent ARPA model.
    """
    lines = _Lines(Path(path))
    sizes = _read_header(lines)
    words = _Words(lines, sizes[0])
    sections = [_read_section(lines, n, size, words) for n, size in enumerate(sizes[1:], 2)]
    if lines.text() != b"\\end\\":
        raise lines.error("wanted \\end\\ after the last section")
    lines.close()
    return Arpa(_tables(words, sections), words.names, words.boundary)


class _Lines:
    """The lines of a file that are not blank, one at a time; the present one is numbered in errors."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        self.file: Any = gzip.open(path, "rb") if packed else open(path, "rb")  # noqa: SIM115
        self.line = b""
        self.advance()

    def advance(self) -> None:
        try:
            for line in self.file:
                self.number += 1
                if line := line.strip(b" \t\r\n\0"):
                    self.line = line
                    return
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.error(f"the compressed file is damaged ({error})") from None
        self.line = b""

    def text(self) -> bytes:
        """The present line; empty at the end of the file."""
        return self.line

    def data(self) -> Iterator[list[bytes]]:
        """The fields of each line up to the next one that starts with a backslash."""
        while self.line and not self.line.startswith(b"\\"):
            yield self.line.split()
            self.advance()

    def close(self) -> None:
        self.file.close()

    def error(self, message: str) -> ValueError:
        self.close()
        return ValueError(f"{self.path}, line {self.number}: {message}")


def _read_header(lines: _Lines) -> list[int]:
    """How many n-grams of each length the file says it has."""
    if lines.text() != b"\\data\\":
        raise lines.error(
            f"found {_shown(lines.text())}, wanted an ARPA file, which begins with \\data\\"
        )
    lines.advance()
    sizes: list[int] = []
    for fields in lines.data():
        match = re.fullmatch(rb"ngram (\d{1,6}) ?= ?(\d{1,18})", b" ".join(fields))
        if match is None or int(match[1]) != len(sizes) + 1:
            raise lines.error(
                f"found {_shown(lines.text())}, wanted 'ngram {len(sizes) + 1}=COUNT'"
            )
        sizes.append(int(match[2]))
    if not sizes or not sizes[0]:
        raise lines.error("the header counts no 1-grams")
    return sizes


class _Words:
    """The 1-grams: names, log-probabilities and back-offs by id, and which word may stand where."""

    def __init__(self, lines: _Lines, size: int) -> None:
        self.names: list[str] = []
        self.logp: list[float] = []
        self.backoff: list[float] = []
        self.boundary = -1
        self.inner: dict[bytes, int] = {}
        marks: dict[bytes, tuple[float, float]] = {}
        for word, (logp, backoff) in _grams(lines, 1, size):
            if word[0] in self.inner or word[0] in marks:
                raise lines.error(f"the 1-gram {_shown(word[0])} appears twice")
            if word[0] in (OPENS.encode(), CLOSES.encode()):
                self._add_boundary()
                marks[word[0]] = logp, backoff
            else:
                self.inner[word[0]] = self._add(lines, word[0], logp, backoff)
        if self.boundary >= 0:
            self.logp[self.boundary] = marks.get(CLOSES.encode(), (NEVER * LN10, 0.0))[0]
            self.backoff[self.boundary] = marks.get(OPENS.encode(), (0.0, 0.0))[1]
        # the boundary opens a context or is predicted; nothing else, since a context ends there
        self.first = self.inner | {OPENS.encode(): self.boundary for _ in marks}
        self.last = self.inner | {CLOSES.encode(): self.boundary for _ in marks}

    def _add(self, lines: _Lines, word: bytes, logp: float, backoff: float) -> int:
        try:
            self.names.append(word.decode("utf-8"))
        except UnicodeDecodeError:
            raise lines.error(f"the word {_shown(word)} is not UTF-8") from None
        self.logp.append(logp)
        self.backoff.append(backoff)
        return len(self.names) - 1

    def _add_boundary(self) -> None:
        if self.boundary < 0:
            self.boundary = len(self.names)
            self.names.append(OPENS)
            self.logp.append(0.0)
            self.backoff.append(0.0)


def _grams(lines: _Lines, n: int, size: int) -> Iterator[tuple[list[bytes], tuple[float, float]]]:
    """Words, and natural log-probability and back-off, of each line of a section."""
    if lines.text() != b"\\%d-grams:" % n:
        raise lines.error(f"found {_shown(lines.text())}, wanted \\{n}-grams:")
    lines.advance()
    found = 0
    for fields in lines.data():
        if not n < len(fields) <= n + 2:
            raise lines.error(
                f"found {len(fields)} fields, wanted a number, {n} words and at most one number more"
            )
        try:
            logp = float(fields[0])
            backoff = float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        except ValueError:
            raise lines.error(
                f"found {_shown(lines.text())}, wanted numbers around {n} words"
            ) from None
        if not -LIMIT < logp <= 0:
            raise lines.error(f"found {logp} as a log10 probability, wanted 0 or less, finite")
        if not -LIMIT < backoff < LIMIT:
            raise lines.error(f"found {backoff} as a log10 back-off, wanted a finite number")
        found += 1
        yield fields[1 : n + 1], (logp * LN10, backoff * LN10)
    if found != size:
        raise lines.error(f"found {found} {n}-grams, but the header counts {size}")


def _read_section(lines: _Lines, n: int, size: int, words: _Words) -> Section:
    allowed = [words.first, *[words.inner] * (n - 2), words.last]
    ids: list[int] = []
    numbers: list[tuple[float, float]] = []
    for gram, pair in _grams(lines, n, size):
        for word, index in zip(gram, allowed, strict=True):
            if word not in index:
                why = "out of place" if word in words.first or word in words.last else "no 1-gram"
                raise lines.error(
                    f"{_shown(word)} is {why} in the {n}-gram {_shown(b' '.join(gram))}"
                )
            ids.append(index[word])
        numbers.append(pair)
    logp, backoff = np.array(numbers, dtype=np.float64).reshape(-1, 2).T
    matrix = np.array(ids, dtype=np.int64).reshape(-1, n)
    twice = _first_repeated(matrix)
    if twice is not None:
        names = " ".join(words.names[i] for i in twice)
        raise lines.error(f"the {n}-gram {names!r} appears twice in the section above")
    return Section(matrix, logp, backoff)


def _first_repeated(rows: Array) -> Array | None:
    ordered = rows[np.lexsort(rows.T[::-1])]
    same = (ordered[1:] == ordered[:-1]).all(1)
    return ordered[:-1][same][0] if same.any() else None


def _tables(words: _Words, sections: list[Section]) -> Tables:
    """Number the contexts and sort the n-grams of every length."""
    bits, order = word_bits(len(words.names)), len(sections) + 1
    by_length = dict(enumerate(sections, 2))
    contexts: dict[int, Array] = {}
    for length, ids in _contexts(by_length, order, words.boundary).items():
        shorter = rows_of(contexts, ids[:, 1:], bits)
        contexts[length] = np.unique((shorter << bits) | ids[:, 0])
    backoff, keys, logp = {}, {}, {}
    if order > 1:
        backoff[1] = np.array(words.backoff, dtype=np.float32)
    for n, section in by_length.items():
        packed = (rows_of(contexts, section.ids[:, :-1], bits) << bits) | section.ids[:, -1]
        by_key = np.argsort(packed)
        keys[n] = packed[by_key]
        logp[n] = section.logp[by_key].astype(np.float32)
        if n < order:
            backoff[n] = np.zeros(contexts[n].size, dtype=np.float32)
            row = rows_of(contexts, section.ids, bits)
            backoff[n][row[row >= 0]] = section.backoff[row >= 0]
    return Tables(np.array(words.logp), contexts, backoff, keys, logp)


def _contexts(sections: dict[int, Section], order: int, boundary: int) -> dict[int, Array]:
    """Word ids of all contexts by length, short ones first; a context's shorter forms are contexts too."""
    found: dict[int, Array] = {}
    for length in range(order - 1, 1, -1):
        weighted = sections[length].ids[sections[length].backoff != 0]
        parts = [
            sections[length + 1].ids[:, :-1],
            weighted[weighted[:, -1] != boundary],
            found[length + 1][:, 1:] if length + 1 in found else weighted[:0],
        ]
        found[length] = np.concatenate(parts)
    return dict(reversed(found.items()))


def _shown(text: bytes) -> str:
    """A piece of the file, short and printable."""
    return ascii(text[:60].decode("utf-8", "replace"))
