"""Text becomes a Corpus: token ids on disk, memory-mapped, prepared once and found again by content.

    corpus = prepare(["essays/", "letters.jsonl"], tokenizer="bpe")
    corpus.id, corpus.train, corpus.valid, corpus.tokenizer

Three passes over the text, none of which holds it: measure it, train the tokeniser on a sample of the
training split, encode. The cache is ~/.cache/seqstate (or $SEQSTATE_CACHE); it may be deleted at any time,
and processes may prepare the same text at once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from seqstate.core.record import write_json
from seqstate.text import cache as on_disk
from seqstate.text.chunks import Piece, blocks
from seqstate.text.pairs import Fields, pair_fields, separator_of
from seqstate.text.sources import documents
from seqstate.text.split import Split, check_length, choose, given, sides, survey
from seqstate.text.starvation import starvation
from seqstate.text.texts import Reading, Text
from seqstate.text.tokenizer import KINDS, TextCodec, Tokenizer
from seqstate.text.trees import Tree, read_trees

__all__ = ["Corpus", "encode_text", "find_corpus", "open_corpus", "prepare", "starvation"]

FORMAT = 1  # of the cache; raised when the same input would be stored otherwise
TREES = ".trees"  # suffix of the file with the trees of one side, one a line
SAMPLE = 1 << 25  # characters that a word or bpe vocabulary is learnt from, at most
SIDES = ("train", "valid")
Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Text as ids. train, valid: 1-d arrays; each document is opened by `tokenizer.boundary`.

    id: the name and a hash of ids and vocabulary: equal wherever the same text is split and cut into tokens
    alike. *_bytes: of the text in UTF-8. split: how valid was chosen. unknown: share of the held-out tokens
    that are `<unk>` (what they stand for is not predicted, which flatters bits per byte). pairs: whether each
    document is a source and a target (see text.pairs). treebank: whether each is the words of a tree.
    """

    id: str
    name: str
    tokenizer: Tokenizer
    train: NDArray
    valid: NDArray
    train_bytes: int
    valid_bytes: int
    train_documents: int
    valid_documents: int
    split: str
    unknown: float
    folder: Path
    pairs: bool = False
    treebank: bool = False

    def trees(self, side: str) -> list[Tree]:
        """The trees of one side ("train" or "valid") of a treebank, in the order of its documents."""
        return read_trees(self.folder / f"{side}{TREES}")

    @property
    def separator(self) -> int | None:
        """The token between the source and the target of a pair; None where documents are no pairs."""
        return separator_of(self.tokenizer) if self.pairs else None

    def __reduce__(self):  # another process is sent the place, not the ids
        return open_corpus, (self.folder, self.name)


def prepare(
    texts: Sequence[str | Path] = (),
    *,
    valid: Sequence[str | Path] = (),
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    valid_share: float = 0.1,
    field: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    pairs: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read, split, tokenise and store text, or find that this was done before.

    texts: files, folders, globs or `-`; none: the documentation of this Python (text.default).
    valid: held-out text; then all of `texts` trains. tokenizer: byte, char, word, bpe or space, trained on
    the training split only, or the path of a tokenizer.json; None: bpe, and space for trees. pairs:
    "SOURCE,TARGET", the fields that hold pairs; .tsv files are pairs without it. progress: called with a
    stage and the share done.
    Raises ValueError, in one line, for text that cannot be read or is too short to split.
    """
    if not 0 < valid_share <= 0.5:
        raise ValueError(f"a held-out share of {valid_share} is not above 0 and at most 0.5")
    ready = None if tokenizer in (None, *KINDS) else _reuse(tokenizer, vocab_size)
    root = Path(cache or on_disk.cache_folder()) / "corpora"
    tell = progress or (lambda stage, share: None)
    with on_disk.writing(root), ExitStack() as closing:
        fields = pair_fields([*_listed(texts), *_listed(valid)], pairs)
        reading = Reading(field, encoding, errors, fields)
        train_text = Text(_listed(texts), reading, folder=root, closing=closing)
        valid_text = Text(_listed(valid), reading, folder=root, closing=closing) if valid else None
        if valid_text:
            train_text.refuse_shared(valid_text)
        treebank = train_text.treebank
        if valid_text and valid_text.treebank != treebank:
            raise ValueError(
                "of text and held-out text one is trees; give both as trees, or neither"
            )
        tokenizer = tokenizer or ("space" if treebank else "bpe")
        tell("reading", None)
        cut = [ready.model.to_str()] if ready else [tokenizer, vocab_size, tokenizers.__version__]
        split = valid_text.digest() if valid_text else valid_share
        asked = json.dumps([FORMAT, cut, split, train_text.digest()])
        folder = root / hashlib.sha256(asked.encode()).hexdigest()[:32]
        if not on_disk.whole(folder):
            with on_disk.made(folder) as unfinished:
                material = _Material(train_text, valid_text, valid_share, tell)
                ready = ready or material.train_tokenizer(str(tokenizer), vocab_size)
                material.encode(ready, unfinished)
    return open_corpus(folder, train_text.name)


def open_corpus(folder: str | Path, name: str) -> Corpus:
    """A prepared corpus from its folder in the cache."""
    folder = Path(folder)
    if not on_disk.whole(folder):
        raise ValueError(f"{folder} holds no whole corpus; prepare the text again")
    meta = json.loads((folder / on_disk.META).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    train, valid = (np.memmap(folder / f"{side}.bin", _dtype(tokenizer), "r") for side in SIDES)
    described = {key: value for key, value in meta.items() if key not in ("digest", "sizes")}
    return Corpus(
        id=f"{name}-{meta['digest'][:8]}",
        name=name,
        tokenizer=tokenizer,
        train=train,
        valid=valid,
        folder=folder,
        **described,
    )


def find_corpus(id: str) -> Corpus | None:
    """A prepared corpus by its id, if it is still in the cache."""
    name, _, digest = id.rpartition("-")
    for folder in sorted((on_disk.cache_folder() / "corpora").glob("[!.]*")):
        if digest and on_disk.whole(folder):
            meta = json.loads((folder / on_disk.META).read_text(encoding="utf-8"))
            if meta.get("digest", "").startswith(digest):
                return open_corpus(folder, name)
    return None


def encode_text(
    tokenizer: TextCodec,
    paths: Sequence[str | Path],
    *,
    field: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    pairs: Fields | None = None,
) -> tuple[NDArray, int]:
    """All documents of some files as ids, each opened by the boundary, and their bytes in UTF-8.

    The ids lie in an unnamed temporary file, memory-mapped, so that text of any length will do. Raises
    ValueError as text.sources.documents.
    """
    text = documents(_listed(paths), field=field, encoding=encoding, errors=errors, pairs=pairs)
    with tempfile.TemporaryFile() as file:
        encoder = _Encoder(tokenizer, file.write)
        encoder.add(text)
        file.flush()
        return np.memmap(file, _dtype(tokenizer), "r"), encoder.bytes


class _Material:
    """A text and its split, about to become ids."""

    def __init__(self, train: Text, valid: Text | None, share: float, tell: Progress) -> None:
        self.text, self.valid, self.tell = train, valid, tell
        self.pairs = train.reading.pairs is not None
        self.treebank = train.treebank
        tell("measuring", None)
        found, name = survey(train.pieces(), pairs=self.pairs), train.name
        self.characters = found.characters
        self.split: Split = (
            given(found, name)
            if valid
            else choose(found, share, name, pairs=self.pairs, trees=self.treebank)
        )
        if valid:
            check_length(survey(valid.pieces()), valid.name)

    def pieces(self) -> Iterator[tuple[bool, Piece]]:
        """Every piece and whether it is held out."""
        seen = 0
        for held, piece in sides(self.text.pieces(), self.split):
            seen += len(piece.text)
            yield held, piece
        if seen != self.characters:
            raise ValueError(f"{self.text.name} changed while it was being read; try again")
        if self.valid:
            yield from ((True, piece) for piece in self.valid.pieces())

    def train_tokenizer(self, kind: str, vocab_size: int | None) -> Tokenizer:
        """Learn from the training split: characters from all of it, words and bpe from a sample."""
        self.tell("training the tokenizer", None)
        if kind == "byte":
            return Tokenizer.train(kind, [], vocab_size)
        train = blocks(piece for held, piece in self.pieces() if not held)
        share = 1.0 if kind == "char" else min(1.0, SAMPLE / self.split.train_characters)
        return Tokenizer.train(kind, _sample(train, share), vocab_size)

    def encode(self, tokenizer: Tokenizer, folder: Path) -> None:
        """Write the ids of both sides, the tokeniser, and what was counted."""
        if self.pairs:
            separator_of(tokenizer)  # refuses here, not at the first step
        tokenizer.save(folder / "tokenizer.json")
        with ExitStack() as closing:
            files = [closing.enter_context(open(folder / f"{side}.bin", "wb")) for side in SIDES]
            train, valid = encoders = [_Encoder(tokenizer, file.write) for file in files]
            pieces = self._watched(self.pieces())
            for held, stretch in groupby(pieces, key=lambda pair: pair[0]):
                encoders[held].add(piece for _, piece in stretch)
        drawn = self._write_trees(folder) if self.treebank else b""
        vocabulary = json.dumps(sorted(tokenizer.model.get_vocab().items())).encode()
        digests = [
            train.digest.digest(),
            valid.digest.digest(),
            hashlib.sha256(vocabulary).digest(),
            *([b"pairs"] if self.pairs else []),
            drawn,
        ]
        meta = {
            "digest": hashlib.sha256(b"".join(digests)).hexdigest(),
            "train_bytes": train.bytes,
            "valid_bytes": valid.bytes,
            "train_documents": train.documents,
            "valid_documents": valid.documents,
            "split": self.split.how,
            "unknown": valid.unknown / valid.tokens,
            "pairs": self.pairs,
            "treebank": self.treebank,
            "sizes": on_disk.sizes(folder),
        }
        write_json(folder / on_disk.META, meta)

    def _write_trees(self, folder: Path) -> bytes:
        """The trees of both sides; a digest of them."""
        digest = hashlib.sha256()
        with ExitStack() as closing:
            files = [closing.enter_context(open(folder / f"{side}{TREES}", "wb")) for side in SIDES]
            for held, piece in self.pieces():
                line = f"{piece.tree}\n".encode()
                files[held].write(line)
                digest.update(line)
        return digest.digest()

    def _watched(self, pieces: Iterable[tuple[bool, Piece]]) -> Iterator[tuple[bool, Piece]]:
        done = 0
        for held, piece in pieces:
            yield held, piece
            done += len(piece.text)
            self.tell("encoding", min(1.0, done / self.characters))


class _Encoder:
    """Writes documents as ids and counts what it writes."""

    def __init__(self, tokenizer: TextCodec, write: Callable[[bytes], Any]) -> None:
        self.tokenizer, self.write, self.type = tokenizer, write, _dtype(tokenizer)
        self.bytes = self.documents = self.tokens = self.unknown = 0
        self.digest = hashlib.sha256()

    def add(self, pieces: Iterable[Piece]) -> None:
        """Whole documents."""
        for ids in self.tokenizer.encode_pieces(self._counted(pieces)):
            data = ids.astype(self.type).tobytes()
            self.write(data)
            self.digest.update(data)
            self.tokens += len(ids)
            if self.tokenizer.unknown is not None:
                self.unknown += int((ids == self.tokenizer.unknown).sum())

    def _counted(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            text = piece.text
            self.bytes += len(text) if text.isascii() else len(text.encode("utf-8"))
            self.documents += piece.starts_document
            yield piece


def _sample(train: Iterable[Piece], share: float) -> Iterator[str]:
    """Blocks spread evenly over a text that hold about a share of it."""
    seen = taken = 0
    for text, *_ in train:
        if taken <= share * seen:
            taken += len(text)
            yield text
        seen += len(text)


def _reuse(tokenizer: str | Path, vocab_size: int | None) -> Tokenizer:
    path = Path(tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.exists():
        kinds = ", ".join(KINDS)
        raise ValueError(
            f"unknown tokenizer {str(tokenizer)!r}; there are {kinds}, or the path of a tokenizer.json"
        )
    ready = Tokenizer.load(path)
    if vocab_size not in (None, ready.vocab_size):
        raise ValueError(
            f"the tokenizer {path} has {ready.vocab_size:,} tokens, not {vocab_size:,}; "
            "leave the vocabulary size out"
        )
    return ready


def _listed(paths: Sequence[str | Path] | str | Path) -> list[str]:
    return [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def _dtype(tokenizer: TextCodec) -> type[np.unsignedinteger]:
    return np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
