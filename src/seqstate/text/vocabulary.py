"""Learns vocabularies and builds them as `tokenizers.Tokenizer`: byte, char, word, space and byte-level BPE.

`<doc>` and `<unk>` are ordinary entries that no piece of text can match, not added tokens that are looked for
in the text: a document that says "<doc>" stays a document that says "<doc>", in every program that loads the
file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from seqstate.text.chunks import BLOCK, Piece, blocks
from seqstate.text.patterns import BPE, STRETCH, WORD

BOUNDARY, UNKNOWN = "<doc>", "<unk>"
CHARACTER = r"[\s\S]"
MINIMUM_COUNT = 2  # what was seen once teaches what an unknown looks like
DEFAULT_SIZES = {"word": 8192, "space": 8192, "bpe": 2048}


def byte_names() -> list[str]:
    """The character that stands for each of the 256 bytes in a byte-level vocabulary (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in plain)
    table = {byte: chr(byte) for byte in plain}
    table |= {byte: chr(256 + rank) for rank, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def learn(kind: str, documents: Iterable[str], vocab_size: int | None) -> tokenizers.Tokenizer:
    """A tokeniser of a kind from text; `vocab_size` is the most entries it may have, specials counted."""
    learners: dict[str, Callable[[Iterable[str], int | None], tokenizers.Tokenizer]] = {
        "byte": _learn_bytes,
        "char": _learn_characters,
        "word": partial(_learn_words, "word", WORD),
        "bpe": _learn_bpe,
        "space": partial(_learn_words, "space", STRETCH),
    }
    if kind not in learners:
        raise ValueError(f"unknown tokenizer {kind!r}; there are {', '.join(learners)}")
    return learners[kind](documents, vocab_size)


def _learn_bytes(documents: Iterable[str], vocab_size: int | None) -> tokenizers.Tokenizer:
    if vocab_size not in (None, 257):
        raise ValueError(
            f"a byte tokenizer has 257 tokens (256 bytes and {BOUNDARY}), not {vocab_size}; "
            "leave the vocabulary size out"
        )
    return byte_level([], split=None)


def _learn_characters(documents: Iterable[str], vocab_size: int | None) -> tokenizers.Tokenizer:
    counts = np.zeros(0x110000, np.int64)
    for document in documents:
        for start in range(0, len(document), BLOCK):
            codes = document[start : start + BLOCK].encode("utf-32-le", "ignore")
            found = np.bincount(np.frombuffer(codes, "<u4"))
            counts[: len(found)] += found
    seen = Counter({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})
    kept = sorted(_most_frequent("char", seen, vocab_size))
    return whole_pieces(kept, split=CHARACTER)


def _learn_words(
    kind: str, pattern: str, documents: Iterable[str], vocab_size: int | None
) -> tokenizers.Tokenizer:
    counts: Counter[str] = Counter()
    pieces = re.compile(pattern)
    for document in documents:
        for block in blocks([Piece(document, True)]):
            counts.update(pieces.findall(block.text))
    kept = _most_frequent(kind, counts, vocab_size or DEFAULT_SIZES[kind])
    return whole_pieces(kept, split=pattern)


def _most_frequent(kind: str, counts: Counter[str], vocab_size: int | None) -> list[str]:
    """Entries seen at least twice, the most frequent first, ties in code point order."""
    if vocab_size is not None and vocab_size < 3:
        raise ValueError(
            f"a {kind} vocabulary of {vocab_size} is too small: {BOUNDARY}, {UNKNOWN} and one {kind} need 3"
        )
    seen = [(entry, count) for entry, count in counts.items() if count >= MINIMUM_COUNT]
    seen.sort(key=lambda pair: (-pair[1], pair[0]))
    return [entry for entry, _ in seen[: None if vocab_size is None else vocab_size - 2]]


def _learn_bpe(documents: Iterable[str], vocab_size: int | None) -> tokenizers.Tokenizer:
    size = vocab_size or DEFAULT_SIZES["bpe"]
    if size < 257:
        raise ValueError(
            f"a bpe vocabulary of {size} is too small: 256 bytes and {BOUNDARY} need 257"
        )
    learner = byte_level([], split=BPE)
    learner.train_from_iterator(
        (block.text for document in documents for block in blocks([Piece(document, True)])),
        trainers.BpeTrainer(
            vocab_size=size - 1,
            min_frequency=MINIMUM_COUNT,
            initial_alphabet=byte_names(),
            show_progress=False,
        ),
    )
    merges = json.loads(learner.to_str())["model"]["merges"]
    return byte_level([(left, right) for left, right in merges], split=BPE)


def byte_level(merges: list[tuple[str, str]], *, split: str | None) -> tokenizers.Tokenizer:
    """Ids 0 to 255 are the bytes, 256 is `<doc>`, merges follow in the order they were learnt."""
    # two merges may make the same token
    entries = dict.fromkeys([*byte_names(), BOUNDARY, *(left + right for left, right in merges)])
    built = tokenizers.Tokenizer(
        models.BPE(vocab={entry: rank for rank, entry in enumerate(entries)}, merges=merges)
    )
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.pre_tokenizer = (
        bytes_of if split is None else pre_tokenizers.Sequence([_splitter(split), bytes_of])
    )
    built.decoder = decoders.ByteLevel()
    return built


def whole_pieces(entries: list[str], *, split: str) -> tokenizers.Tokenizer:
    """Each piece of text is one entry or `<unk>` (id 1); `<doc>` is id 0."""
    vocabulary = {entry: rank for rank, entry in enumerate([BOUNDARY, UNKNOWN, *entries])}
    built = tokenizers.Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    built.pre_tokenizer = _splitter(split)
    built.decoder = decoders.Fuse()
    return built


def _splitter(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
