"""Text to ids, quickly: the same ids as the tokenizers library gives, without its cost for each token.

Text repeats its pieces, so each distinct piece is encoded once. On English, in CPU time against the library's
encode_batch_fast (benchmarks/encode_text.py): byte 8 to 13 times, char about 20, word 1.5, bpe 3 times as
fast. Every encoder takes a block of text to a 1-d array of ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain

import numpy as np
import tokenizers
from numpy.typing import NDArray

from seqstate.text.patterns import BPE

Encoder = Callable[[str], NDArray[np.int64]]
CACHED_PIECES = 1 << 18  # about 60 MB


def encode_bytes(text: str) -> NDArray[np.int64]:
    """UTF-8 bytes are the ids."""
    return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)


def character_encoder(vocabulary: dict[str, int], unknown: int) -> Encoder:
    """One id a code point, by table."""
    table = np.full(0x110000, unknown, np.int32)
    for entry, rank in vocabulary.items():
        if len(entry) == 1:
            table[ord(entry)] = rank
    return lambda text: table[np.frombuffer(text.encode("utf-32-le"), "<u4")].astype(np.int64)


def word_encoder(pattern: str, vocabulary: dict[str, int], unknown: int) -> Encoder:
    """One id a piece of the pattern."""
    pieces = re.compile(pattern).findall
    return lambda text: np.fromiter(
        (vocabulary.get(piece, unknown) for piece in pieces(text)), np.int64
    )


def bpe_encoder(model: tokenizers.Tokenizer) -> Encoder:
    """The merges of each distinct piece, found by the library once."""
    pieces, known = re.compile(BPE).findall, _Merged(model)
    return lambda text: np.fromiter(
        chain.from_iterable(map(known.__getitem__, pieces(text))), np.int64
    )


class _Merged(dict[str, list[int]]):
    def __init__(self, model: tokenizers.Tokenizer) -> None:
        super().__init__()
        self.model = model

    def __missing__(self, piece: str) -> list[int]:
        ids = self.model.encode(piece, add_special_tokens=False).ids
        if len(self) < CACHED_PIECES:
            self[piece] = ids
        return ids


def generic_encoder(model: tokenizers.Tokenizer) -> Encoder:
    """For a tokeniser with a pattern of its own."""
    return lambda text: np.array(model.encode(text, add_special_tokens=False).ids, np.int64)
