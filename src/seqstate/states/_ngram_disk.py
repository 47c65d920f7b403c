"""The estimate of _kneser_ney for texts larger than memory: counted, joined and sorted on disk by DuckDB.

An n-gram is a row: c1 (the word right before), c2, ... and w, the word predicted; c is ABSENT beyond the
boundary that opens the document. Tables, by order n:

    events          every longest window of the text and how often it occurs
    grams_n         c1 .. c(n-1), w, raw (occurrences), adjusted (Kneser-Ney's count)
    model_n         c1 .. c(n-1), w, raw, p, spare (what the context leaves to shorter ones)

DuckDB keeps to the memory it is given and spills to a folder that is removed at the end. The finished model
is held in memory; pruning makes it small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from seqstate.states._kneser_ney import (
    SPARED,
    Tables,
    corrected,
    discounts,
    threshold,
    unigram_probabilities,
)
from seqstate.states._ngram_counts import Array, context_reach, rows_of, word_bits

ABSENT = -1
CHUNK = 1 << 20  # tokens, and rows of a table, in memory at once


def estimate(
    tokens: Array,
    boundary: int,
    vocab_size: int,
    order: int,
    *,
    fallback: Sequence[float],
    thresholds: Sequence[int],
    memory_gb: float,
) -> Tables:
    """Estimate the model of checked tokens (2 <= order); see `smooth` for the options.

    Raises ValueError if DuckDB cannot do it in the memory it is given.
    """
    with tempfile.TemporaryDirectory(prefix="seqstate-count-") as folder:
        base = duckdb.connect(str(Path(folder) / "counts.duckdb"))
        try:
            base.execute(f"SET memory_limit = '{int(memory_gb * 1000)}MB'")
            base.execute(f"SET temp_directory = '{folder}'")
            return _Job(base, boundary, vocab_size, order).run(tokens, fallback, thresholds)
        except duckdb.OutOfMemoryException:
            raise ValueError(
                f"counting {tokens.size} tokens at order {order} does not fit the {memory_gb} GB given; "
                "raise memory_gb or lower the order"
            ) from None
        finally:
            base.close()


def chunks(tokens: Array, boundary: int, order: int, size: int) -> Iterator[dict[str, Array]]:
    """Columns w, c1 .. c(order-1) of every prediction of the text, a piece at a time."""
    opened = int(tokens[0] == boundary)
    total = tokens.size + 2 - opened  # of the stream with a boundary at both ends
    for start in range(1, total, size):
        first, end = max(0, start - order + 1), min(start + size, total)
        piece = np.full(end - first, boundary, dtype=np.int32)
        inside = slice(max(0, first - 1 + opened), min(end - 1 + opened, tokens.size))
        skip = inside.start + 1 - opened - first
        piece[skip : skip + inside.stop - inside.start] = tokens[inside]
        at = np.arange(start - first, end - first)
        reach = context_reach(piece, boundary, order - 1)[at - 1]
        columns = {"w": piece[at]}
        for j in range(1, order):
            columns[f"c{j}"] = np.where(reach >= j, piece[np.maximum(at - j, 0)], np.int32(ABSENT))
        yield columns


def _context(length: int, table: str = "") -> str:
    """The columns of a context of this length, as a list."""
    return ", ".join(f"{table}c{j}" for j in range(1, length + 1))


def _same(length: int, left: str, right: str) -> str:
    """Condition that two tables have the same context of this length (true for none)."""
    return " AND ".join(["true", *(f"{left}.c{j} = {right}.c{j}" for j in range(1, length + 1))])


class _Job:
    """One estimate, on one connection (untyped: run-time type checkers keep DuckDB's types alive at exit)."""

    def __init__(self, base: Any, boundary: int, vocab_size: int, order: int) -> None:
        self.base, self.boundary = base, boundary
        self.vocab_size, self.order = vocab_size, order
        self.bits = word_bits(vocab_size)

    def run(self, tokens: Array, fallback: Sequence[float], thresholds: Sequence[int]) -> Tables:
        ranks = self._read(tokens)
        for n in range(self.order, 1, -1):
            self._grams(n)
        last = self._last(ranks)
        self.base.execute("DROP TABLE events")
        unigram = self._unigram(last, fallback)
        tables = Tables(np.log(unigram), {}, {}, {}, {})
        for n in range(2, self.order + 1):
            self._model(n, self._amounts(n, last, fallback), threshold(thresholds, n))
            self.base.execute(f"DROP TABLE model_{n - 1}; DROP TABLE grams_{n}")
            packer = _Packer(tables, n, self.bits)
            for rows in self._sorted(n, threshold(thresholds, n)):
                packer.add(rows)
            packer.finish(self.vocab_size)
        return tables

    def _read(self, tokens: Array) -> Array:
        """Count the windows; returns where each word comes first (the boundary: -1, never: -2)."""
        columns = ", ".join(f"c{j} INTEGER" for j in range(1, self.order))
        self.base.execute(f"CREATE TABLE events ({columns}, w INTEGER, raw BIGINT)")
        first, seen = np.full(self.vocab_size, -2), 0
        for chunk in chunks(tokens, self.boundary, self.order, CHUNK):
            self.base.register("chunk", chunk)
            self.base.execute(
                f"INSERT INTO events SELECT {_context(self.order - 1)}, w, count(*) FROM chunk GROUP BY ALL"
            )
            self.base.unregister("chunk")
            backwards = np.arange(chunk["w"].size)[::-1]
            new = first.copy()
            new[chunk["w"][backwards]] = backwards + seen
            first = np.where(first == -2, new, first)
            seen += chunk["w"].size
        first[self.boundary] = -1
        return first

    def _grams(self, n: int) -> None:
        """grams_n from the longer ones, and from the windows that open a document with n words."""
        context = _context(n - 1)
        opening = f"""SELECT {context}, w, sum(raw)::BIGINT AS raw, sum(raw)::BIGINT AS adjusted
            FROM events WHERE c{n - 1} {{}} GROUP BY ALL"""
        if n == self.order:
            parts = opening.format(f"<> {ABSENT}")
        else:
            parts = f"""SELECT {context}, w, sum(raw)::BIGINT AS raw, count(*) AS adjusted
                FROM grams_{n + 1} GROUP BY ALL UNION ALL {opening.format(f"= {self.boundary}")}"""
        self.base.execute(f"CREATE TABLE grams_{n} AS {parts}")

    def _last(self, ranks: Array) -> list[int]:
        """The n-gram that comes last, newest word first; see `last_ngram`."""
        words = [int(ranks.argmax())]
        while len(words) < self.order - 1 and words[-1] != self.boundary:
            known = "".join(f" AND c{j} = {word}" for j, word in enumerate(words[1:], 1))
            before = self.base.execute(
                f"SELECT DISTINCT c{len(words)} AS c FROM events WHERE w = {words[0]}{known}"
            ).fetchnumpy()["c"]
            words.append(int(before[ranks[before].argmax()]))
        return words

    def _unigram(self, last: list[int], fallback: Sequence[float]) -> Array:
        """Probabilities of single words, also kept as model_1."""
        found = self.base.execute(
            "SELECT w, count(*) AS adjusted, sum(raw)::BIGINT AS raw FROM grams_2 GROUP BY w"
        ).fetchnumpy()
        adjusted, raw = np.zeros((2, self.vocab_size), dtype=np.int64)
        adjusted[found["w"]], raw[found["w"]] = found["adjusted"], found["raw"]
        spectrum = np.bincount(np.minimum(adjusted, 5), minlength=6)
        spectrum = corrected(spectrum, int(adjusted[last[0]]), int(raw[last[0]]))
        unigram = unigram_probabilities(adjusted, discounts(spectrum, fallback))
        words = {"w": np.arange(self.vocab_size, dtype=np.int32), "p": unigram}
        self.base.register("words", words)
        self.base.execute("CREATE TABLE model_1 AS SELECT * FROM words")
        self.base.unregister("words")
        return unigram

    def _amounts(self, n: int, last: list[int], fallback: Sequence[float]) -> Array:
        found = self.base.execute(
            f"SELECT least(adjusted, 5) AS a, count(*) AS n FROM grams_{n} GROUP BY a"
        ).fetchnumpy()
        spectrum = np.zeros(6, dtype=np.int64)
        spectrum[found["a"].astype(np.int64)] = found["n"]
        if n < self.order and n <= len(last):
            known = "".join(f" AND c{j} = {word}" for j, word in enumerate(last[1:n], 1))
            row = self.base.execute(
                f"SELECT adjusted, raw FROM grams_{n} WHERE w = {last[0]}{known}"
            ).fetchall()
            spectrum = corrected(spectrum, *row[0])
        return discounts(spectrum, fallback)

    def _model(self, n: int, amounts: Array, pruned: int) -> None:
        """model_n: discounted, interpolated with model_(n-1), pruned n-grams still among them."""
        context = _context(n - 1)
        _, one, two, more = (f"{float(amount)!r}::DOUBLE" for amount in amounts)
        taken = f"(CASE adjusted WHEN 1 THEN {one} WHEN 2 THEN {two} ELSE {more} END)"
        self.base.execute(
            f"""CREATE TABLE model_{n} AS
            WITH spared AS (
                SELECT {context}, sum(adjusted) AS total, greatest({SPARED},
                    sum(CASE WHEN raw > {pruned} THEN {taken} ELSE adjusted END) / sum(adjusted)) AS spare
                FROM grams_{n} GROUP BY {context})
            SELECT {_context(n - 1, "grams.")}, grams.w, grams.raw, spared.spare,
                (adjusted - {taken}) / total + spared.spare * shorter.p AS p
            FROM grams_{n} AS grams
            JOIN spared ON {_same(n - 1, "grams", "spared")}
            JOIN model_{n - 1} AS shorter ON {_same(n - 2, "grams", "shorter")} AND grams.w = shorter.w"""
        )

    def _sorted(self, n: int, pruned: int) -> Iterator[dict[str, Array]]:
        """The n-grams that are kept, sorted by context and word, a piece at a time."""
        context = _context(n - 1)
        self.base.execute(
            f"""CREATE TABLE finished AS SELECT {context}, w, ln(p)::FLOAT AS logp, ln(spare)::FLOAT AS spare
            FROM model_{n} WHERE raw > {pruned} ORDER BY {context}, w"""
        )
        (size,) = self.base.execute("SELECT count(*) FROM finished").fetchall()[0]
        for start in range(0, size, CHUNK):
            yield self.base.execute(
                f"SELECT * FROM finished WHERE rowid >= {start} AND rowid < {start + CHUNK} ORDER BY rowid"
            ).fetchnumpy()
        self.base.execute("DROP TABLE finished")


class _Packer:
    """Numbers contexts and packs n-grams of one length as they come, sorted, into finished tables."""

    def __init__(self, tables: Tables, n: int, bits: int) -> None:
        self.tables, self.n, self.bits = tables, n, bits
        self.keys, self.logp = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        self.contexts, self.backoff = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        self.made = 0
        self.before: Array | None = None  # the context of the last n-gram

    def add(self, rows: dict[str, Array]) -> None:
        # newest word last, as in the tables
        ids = np.stack([rows[f"c{j}"] for j in range(self.n - 1, 0, -1)], 1).astype(np.int64)
        new = np.ones(len(ids), dtype=bool)
        new[1:] = (ids[1:] != ids[:-1]).any(1)
        new[0] = self.before is None or (ids[0] != self.before).any()
        self.backoff.append(rows["spare"][new])
        if self.n == 2:
            row = ids[:, 0]
            self.contexts.append(ids[new, 0])
        else:
            row = self.made + np.cumsum(new) - 1
            shorter = rows_of(self.tables.contexts, ids[new, 1:], self.bits)
            self.contexts.append((shorter << self.bits) | ids[new, 0])
        self.made, self.before = self.made + int(new.sum()), ids[-1]
        self.keys.append((row << self.bits) | rows["w"])
        self.logp.append(rows["logp"])

    def finish(self, vocab_size: int) -> None:
        contexts, backoff = np.concatenate(self.contexts), np.concatenate(self.backoff)
        if self.n == 2:  # all words are rows, also those that are no context
            backoff, found = np.zeros(vocab_size, dtype=np.float32), backoff
            backoff[contexts] = found
        else:
            self.tables.contexts[self.n - 1] = contexts
        self.tables.backoff[self.n - 1] = backoff
        self.tables.keys[self.n] = np.concatenate(self.keys)
        self.tables.logp[self.n] = np.concatenate(self.logp)
