"""Text to token ids and back: byte, char, word, bpe and space, stored as one tokenizer.json.

The file is the tokenizers library's own, so `tokenizers.Tokenizer.from_file` and transformers'
`PreTrainedTokenizerFast(tokenizer_file=...)` load it and give the same ids and text.

    tokenizer = Tokenizer.train("bpe", ["the training split"], vocab_size=2048)
    tokenizer.decode(tokenizer.encode(text)) == text

byte: ids 0-255 are UTF-8 bytes. bpe: bytes and merges of frequent pairs (Sennrich et al. 2016; byte-level as
GPT-2). Both know all text. char: one id a code point; word: one id a word with the space before it (see
patterns.WORD); space: one id a stretch between spaces, for text that is cut into words already (treebanks).
These know what training showed at least twice; the rest is `<unk>`.
"""

from __future__ import annotations

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tokenizers
from numpy.typing import NDArray

from seqstate.core.record import write_atomic
from seqstate.text import encoders
from seqstate.text.chunks import Piece, blocks
from seqstate.text.patterns import BPE, STRETCH, WORD
from seqstate.text.vocabulary import BOUNDARY, CHARACTER, UNKNOWN, byte_names, learn

KINDS = ("byte", "char", "word", "bpe", "space")
PIECES = {WORD: "word", STRETCH: "space"}  # kinds whose tokens are the pieces of a pattern
# what opens or ends a document in tokenisers of other makers, best first
BOUNDARIES = (BOUNDARY, "<|endoftext|>", "<|end_of_text|>", "<|begin_of_text|>", "</s>", "<s>")
PROBE = (
    "The  <doc> can't\n\n\tcost 12,345: naïve e\u0301, 你好，世界。\u3000 👩‍🚀 \r\n x_y <s>  end "
)


SENTENCE_END = re.compile(r"""[.!?。！？]["'”’)\]\s]*$|\n\s*\n""")


class TextCodec(ABC):
    """Text to token ids and back: what a trained model asks of its tokeniser.

    vocab_size: all entries. boundary: the id that opens a document. unknown: the id of what stands for
    unknown text; None where every text is known. model: the `tokenizers` library's object.
    """

    kind: str
    vocab_size: int
    boundary: int
    unknown: int | None
    model: Any

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int64]:
        """Token ids, without a boundary."""

    @abstractmethod
    def encode_pieces(
        self, pieces: Iterable[Piece], *, boundary: bool = True
    ) -> Iterator[NDArray[np.int64]]:
        """Stream documents to ids, each opened by the boundary."""

    @abstractmethod
    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of some tokens."""

    @abstractmethod
    def token_text(self, token: SupportsIndex) -> str:
        """One token to look at."""

    def sentence_ends(self) -> tuple[int, ...]:
        """Ids of tokens that close a sentence: a full stop or its like and quotes after it, an empty line."""
        texts = map(self.token_text, range(self.vocab_size))
        return tuple(token for token, text in enumerate(texts) if SENTENCE_END.search(text))

    @abstractmethod
    def stream(self) -> TextDecoder:
        """A decoder that is given tokens one by one."""

    @abstractmethod
    def save(self, path: str | Path) -> Path:
        """Write it so that it can be loaded again. Raises ValueError if it cannot."""


class TextDecoder(ABC):
    """Emits text as soon as it is complete; all it emits joined is `TextCodec.decode`."""

    @abstractmethod
    def push(self, token: SupportsIndex) -> str:
        """What this token completes, often ""."""

    @abstractmethod
    def finish(self) -> str:
        """What is left."""


class Tokenizer(TextCodec):
    """kind: byte, char, word, bpe or space. vocab_size: all entries. boundary: the id that opens a document.

    unknown: the id of `<unk>`, or None where every text is known.
    """

    def __init__(self, model: tokenizers.Tokenizer) -> None:
        model.encode_special_tokens = True  # a special token written out in a text stays text
        model.no_padding()
        model.no_truncation()
        self.model = model
        self.kind, self._bytes, self._encode = _understand(model)
        self.vocab_size = len(self._bytes)
        self.boundary = _boundary(model)
        self.unknown = (
            model.token_to_id(UNKNOWN) if self.kind in ("char", *PIECES.values()) else None
        )

    @classmethod
    def train(cls, kind: str, documents: Iterable[str], vocab_size: int | None = None) -> Tokenizer:
        """Learn from training text.

        vocab_size counts `<doc>` and `<unk>`; None: 257 for byte, all characters seen twice for char, at
        most 8,192 for word and space and 2,048 for bpe. Raises ValueError for a kind there is not and a size
        it cannot have.
        """
        return cls(learn(kind, documents, vocab_size))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer.json: one of ours, or any byte-level BPE that leaves text as it is."""
        path = Path(path)
        try:
            model = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            why = str(error) if path.is_file() else "no such file"
            raise ValueError(f"cannot read the tokenizer {path}: {why}") from None
        try:
            return cls(model)
        except ValueError as error:
            raise ValueError(f"cannot use the tokenizer {path}: {error}") from None

    def save(self, path: str | Path) -> Path:
        """Write one tokenizer.json; a crash leaves the old one or the new one."""
        return write_atomic(Path(path), self.model.to_str(pretty=True).encode("utf-8"))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Token ids, without a boundary. Raises ValueError for half a surrogate pair (not text)."""
        ids = list(self.encode_pieces([Piece(text, True)], boundary=False))
        return np.concatenate(ids) if ids else np.zeros(0, np.int64)

    def encode_pieces(
        self, pieces: Iterable[Piece], *, boundary: bool = True
    ) -> Iterator[NDArray[np.int64]]:
        """Stream documents to ids, each opened by the boundary; the whole text is never held."""
        opening = np.array([self.boundary])
        for block in blocks(pieces):
            try:
                ids = self._encode(block.text)
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"half a surrogate pair (U+{ord(block.text[error.start]):04X}) is not text; "
                    "it cannot be encoded"
                ) from None
            yield np.concatenate([opening, ids]) if boundary and block.starts_document else ids

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of some tokens; bytes that are no text become U+FFFD, the boundary `<doc>`."""
        return self._bytes_of(ids).decode("utf-8", "replace")

    def token_text(self, token: SupportsIndex) -> str:
        r"""One token to look at: bytes that are no text alone are written `\xe4`."""
        return self._bytes_of([token]).decode("utf-8", "backslashreplace")

    def stream(self) -> Decoder:
        """A decoder that is given tokens one by one."""
        return Decoder(self)

    def __reduce__(self):
        return _restore, (self.model.to_str(),)

    def _bytes_of(self, ids: Iterable[SupportsIndex]) -> bytes:
        tokens = np.fromiter(ids, np.int64)
        outside = tokens[(tokens < 0) | (tokens >= self.vocab_size)]
        if len(outside):
            raise ValueError(
                f"token id {outside[0]} is outside the vocabulary of {self.vocab_size:,}"
            )
        return b"".join(map(self._bytes.__getitem__, tokens.tolist()))


class Decoder(TextDecoder):
    """Emits text as soon as its bytes are complete; all it emits joined is `Tokenizer.decode`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer._bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: SupportsIndex) -> str:
        """What this token completes, often ""."""
        return self._decoder.decode(self._bytes_of([token]))

    def finish(self) -> str:
        """What is left: U+FFFD for bytes that never became a character."""
        return self._decoder.decode(b"", final=True)


def _restore(written: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(written))


def _understand(model: tokenizers.Tokenizer) -> tuple[str, list[bytes], encoders.Encoder]:
    """The kind, the bytes of every token, and the way to encode; ValueError for what is not understood."""
    written = json.loads(model.to_str())
    vocabulary = model.get_vocab(with_added_tokens=True)
    kind, pattern = written["model"]["type"], _pattern(written["pre_tokenizer"])
    if kind == "WordLevel" and pattern in (CHARACTER, *PIECES):
        unknown = vocabulary[UNKNOWN]
        texts = [text.encode("utf-8") for text in sorted(vocabulary, key=vocabulary.__getitem__)]
        if pattern == CHARACTER:
            return "char", texts, encoders.character_encoder(vocabulary, unknown)
        return PIECES[pattern], texts, encoders.word_encoder(pattern, vocabulary, unknown)
    if kind != "BPE" or "ByteLevel" not in json.dumps(written["decoder"]):
        raise ValueError(f"{kind} is neither one of ours nor a byte-level BPE, which know all text")
    texts = _byte_level_texts(model, vocabulary)
    if not written["model"]["merges"] and pattern is None and len(vocabulary) == 257:
        return "byte", texts, encoders.encode_bytes
    if pattern == BPE and not written["normalizer"]:
        return "bpe", texts, encoders.bpe_encoder(model)
    encode = encoders.generic_encoder(model)
    _must_keep_text(texts, encode)
    return "bpe", texts, encode


def _pattern(pre_tokenizer: dict | None) -> str | None:
    """The regular expression text is split by, when there is just one."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer or {}])
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    return patterns[0] if len(patterns) == 1 else None


def _byte_level_texts(model: tokenizers.Tokenizer, vocabulary: dict[str, int]) -> list[bytes]:
    byte_of = {name: byte for byte, name in enumerate(byte_names())}
    added = {str(token.content) for token in model.get_added_tokens_decoder().values()}
    texts = [b""] * (max(vocabulary.values()) + 1)  # ids may have gaps
    for entry, token in vocabulary.items():
        spelled = entry not in added and all(character in byte_of for character in entry)
        texts[token] = bytes(map(byte_of.__getitem__, entry)) if spelled else entry.encode("utf-8")
    return texts


def _must_keep_text(texts: list[bytes], encode: encoders.Encoder) -> None:
    back = b"".join(texts[token] for token in encode(PROBE)).decode("utf-8", "replace")
    parts = [encode(block.text) for block in blocks([Piece(PROBE, True)], size=8)]
    if back != PROBE or not np.array_equal(np.concatenate(parts), encode(PROBE)):
        raise ValueError("it changes the text it encodes, so bits per byte would mean nothing")


def _boundary(model: tokenizers.Tokenizer) -> int:
    for name in BOUNDARIES:
        if (token := model.token_to_id(name)) is not None:
            return token
    raise ValueError(f"it has no token that opens a document; one of {', '.join(BOUNDARIES)}")
