"""Any Hugging Face tokeniser with the methods ours has; bits per byte stay per byte of the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from seqstate.text.chunks import Piece
from seqstate.text.tokenizer import TextCodec, TextDecoder


class BorrowedTokenizer(TextCodec):
    """boundary: the token that opens a document (theirs that begins a text, or else that ends one)."""

    kind = "borrowed"
    unknown = None

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        found = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        boundary = next((token for token in found if token is not None), None)
        if boundary is None:
            raise ValueError(
                f"{type(tokenizer).__name__} has no token that begins or ends a text, so nothing can open "
                "a document; set tokenizer.bos_token (in a folder: bos_token in tokenizer_config.json)"
            )
        self.tokenizer, self.vocab_size, self.boundary = tokenizer, vocab_size, boundary

    @property
    def model(self) -> Any:
        """The tokenizers library's object inside, which tells two tokenisers apart."""
        return self.tokenizer.backend_tokenizer

    def encode(self, text: str) -> NDArray[np.int64]:
        """Token ids, without a boundary; a special token written out in the text stays text."""
        found = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return np.asarray(found["input_ids"], np.int64)

    def encode_pieces(
        self, pieces: Iterable[Piece], *, boundary: bool = True
    ) -> Iterator[NDArray[np.int64]]:
        """Documents to ids, each opened by the boundary and encoded whole."""
        opening = np.array([self.boundary] if boundary else [], np.int64)
        kept: list[str] = []
        for piece in pieces:
            if piece.starts_document and kept:
                yield np.concatenate([opening, self.encode("".join(kept))])
                kept = []
            kept.append(piece.text)
        if kept:
            yield np.concatenate([opening, self.encode("".join(kept))])

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return self.tokenizer.decode(
            [int(token) for token in ids], clean_up_tokenization_spaces=False
        )

    def token_text(self, token: SupportsIndex) -> str:
        return self.decode([token])

    def stream(self) -> BorrowedDecoder:
        return BorrowedDecoder(self)

    def save(self, path: str | Path) -> Path:
        raise ValueError(
            "a borrowed model is not saved as one of ours; use its own save_pretrained, and from_hf again"
        )


class BorrowedDecoder(TextDecoder):
    """Emits text as soon as it is settled; all it emits joined is `decode`."""

    def __init__(self, tokenizer: BorrowedTokenizer) -> None:
        self.tokenizer, self.ids, self.said = tokenizer, [], ""

    def push(self, token: SupportsIndex) -> str:
        """What this token settles: not the beginnings of a character, U+FFFD."""
        self.ids.append(int(token))
        text = self.tokenizer.decode(self.ids)
        if text.endswith("\ufffd") or not text.startswith(self.said):
            return ""
        new, self.said = text[len(self.said) :], text
        return new

    def finish(self) -> str:
        return self.tokenizer.decode(self.ids)[len(self.said) :]
