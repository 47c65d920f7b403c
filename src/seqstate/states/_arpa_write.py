"""Writing ARPA files: a back-off model as text for KenLM, SRILM and their kin.

A line is `log10(p) <tab> words [<tab> log10(backoff)]`. The document boundary, one id here, is `<s>` as
the first word of a context and `</s>` as a prediction.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from seqstate.states._kneser_ney import Tables
from seqstate.states._ngram_counts import Array, rows_of, split_key, word_bits

OPENS, CLOSES = "<s>", "</s>"
NEVER = -99.0  # log10 of what the format writes for an impossible event
LN10 = float(np.log(10))
CHUNK = 100_000  # n-grams made into text at once
UNPRINTABLE = re.compile("[\x00-\x20\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Section:
    """The n-grams of one length: ids of M x n, natural log-probabilities and back-offs of M."""

    ids: Array
    logp: Array
    backoff: Array


def write(path: str | Path, tables: Tables, words: Sequence[str], boundary: int) -> None:
    """Write a model; `words[i]` names id i, except the boundary, which gets the format's own names.

    A path that ends in .gz is compressed. Raises ValueError for a name the format cannot hold.
    """
    names = _names(words, tables.unigram.size, boundary)
    order = max(tables.keys, default=1)
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="\n") as file:
        sizes = [tables.unigram.size + (boundary >= 0), *(k.size for k in tables.keys.values())]
        counts = "".join(f"ngram {n}={size}\n" for n, size in enumerate(sizes, 1))
        file.write(f"\\data\\\n{counts}\n")
        for n, section in enumerate(_sections(tables, boundary), 1):
            file.write(f"\\{n}-grams:\n")
            _write_section(file, section, names, with_backoff=n < order)
        file.write("\\end\\\n")


def _names(words: Sequence[str], vocab_size: int, boundary: int) -> Array:
    """Names by id; the boundary's place is `</s>` and one place after the last is `<s>`."""
    if len(words) != vocab_size:
        raise ValueError(f"found {len(words)} words, wanted one for each of the {vocab_size} ids")
    names = [CLOSES if i == boundary else word for i, word in enumerate(words)]
    names.append(OPENS)
    for i, name in enumerate(names):
        if not name or UNPRINTABLE.search(name):
            raise ValueError(
                f"the word {name!r} (id {i}) cannot stand in an ARPA file, where white space separates "
                "words; give it another name, such as '▁' for a space"
            )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the word {name!r} names {times} ids, wanted distinct words")
    return np.array(names, dtype=object)


def _sections(tables: Tables, boundary: int) -> Iterator[Section]:
    yield _unigrams(tables, boundary)
    for n, keys in tables.keys.items():
        yield _longer(tables, n, keys, boundary)


def _unigrams(tables: Tables, boundary: int) -> Section:
    """Every id, then `<s>`, which is a context but never predicted."""
    size, has_boundary = tables.unigram.size, boundary >= 0
    backoff = np.zeros(size + has_boundary)
    if 1 in tables.backoff:
        backoff[:size] = tables.backoff[1]
    if has_boundary:
        backoff[size], backoff[boundary] = backoff[boundary], 0
    logp = np.append(tables.unigram, [NEVER * LN10] * has_boundary)
    return Section(np.arange(logp.size)[:, None], logp, backoff)


def _longer(tables: Tables, n: int, keys: Array, boundary: int) -> Section:
    size = tables.unigram.size
    bits = word_bits(size)
    ids = np.empty((keys.size, n), dtype=np.int64)
    row, ids[:, n - 1] = split_key(keys, bits)
    for length in range(n - 1, 1, -1):
        row, ids[:, n - 1 - length] = split_key(tables.contexts[length][row], bits)
    ids[:, n - 2] = row
    backoff = np.zeros(keys.size)
    if n in tables.backoff:
        row = rows_of(tables.contexts, ids, bits)
        backoff[row >= 0] = tables.backoff[n][row[row >= 0]]
    ids[ids[:, 0] == boundary, 0] = size
    return Section(ids, tables.logp[n].astype(np.float64), backoff)


def _write_section(
    file: TextIOWrapper, section: Section, names: Array, *, with_backoff: bool
) -> None:
    for start in range(0, len(section.ids), CHUNK):
        part = slice(start, start + CHUNK)
        lines = _numbers(section.logp[part]) + "\t"
        for n, column in enumerate(section.ids[part].T):
            lines = lines + names[column] if n == 0 else lines + " " + names[column]
        if with_backoff:
            lines = lines + "\t" + _numbers(section.backoff[part])
        file.write("\n".join(lines) + "\n")
    file.write("\n")


def _numbers(natural: Array) -> Array:
    """Logarithms to base 10 as text; ten digits bring a float32 back to itself."""
    return np.array([f"{value:.10g}" for value in (natural / LN10).tolist()], dtype=object)
