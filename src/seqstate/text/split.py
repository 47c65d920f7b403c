"""Training and held-out text: by document where there are enough, else the last stretch; never both.

By document: a document's side is decided by a hash of its text, so its place, name or neighbours do not
matter and two copies of one text are never on different sides. Pairs are hashed by their source: all targets
of one source are on one side. As one block: the first
int((1 - share) * characters) characters train, the rest is held out (nanoGPT's split of tinyshakespeare);
nothing moves the cut, not even a line end near by.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqstate.text.chunks import Piece
from seqstate.text.pairs import source_of

ENOUGH_DOCUMENTS = 10
LEAST_CHARACTERS = 100  # on each side


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over a text finds. keys: a hash of each document. sizes: their characters."""

    keys: NDArray[np.uint64]
    sizes: NDArray[np.int64]

    @property
    def characters(self) -> int:
        return int(self.sizes.sum())


@dataclass(frozen=True, eq=False)
class Split:
    """held: of each document, whether it is held out; None: what lies from character `cut` on is."""

    held: NDArray[np.bool_] | None
    cut: int
    train_characters: int
    how: str


def survey(pieces: Iterable[Piece], *, pairs: bool = False) -> Survey:
    """Measure a text in one pass; 16 bytes are kept of a document."""
    keys, sizes = array("Q"), array("q")
    running = hashlib.blake2b(digest_size=8)
    for text, starts_document, *_ in pieces:
        if starts_document:
            if sizes:
                keys.append(int.from_bytes(running.digest(), "big"))
            sizes.append(0)
            running = hashlib.blake2b(digest_size=8)
        running.update((source_of(text) if pairs else text).encode("utf-8"))
        sizes[-1] += len(text)
    keys.append(int.from_bytes(running.digest(), "big"))
    return Survey(np.array(keys, np.uint64), np.array(sizes, np.int64))


def choose(
    text: Survey, share: float, name: str, *, pairs: bool = False, trees: bool = False
) -> Split:
    """Hold out about `share` of the characters. Raises ValueError when there is too little text."""
    train = int((1 - share) * text.characters)
    if min(train, text.characters - train) < LEAST_CHARACTERS:
        wanted = int(np.ceil(LEAST_CHARACTERS / min(share, 1 - share)))
        raise ValueError(
            f"{name} has {text.characters:,} characters, too few to hold out {share:.0%} of them: "
            f"{wanted:,} are needed; give more text, or held-out text of its own (--valid)"
        )
    held = _by_document(text, share)
    if held is None and pairs:
        raise ValueError(
            f"{name} has {len(text.sizes):,} pairs, too few to hold out {share:.0%} of them by source; "
            "give more, or held-out pairs of their own (--valid)"
        )
    if held is None and trees:
        raise ValueError(
            f"{name} has {len(text.sizes):,} trees, too few to hold out {share:.0%} of them; "
            "give more, or held-out trees of their own (--valid)"
        )
    if held is None:
        return Split(None, train, train, f"the last {share:.0%} of the characters")
    kind = "pairs, no source on both sides" if pairs else "trees" if trees else "documents"
    how = f"{held.sum():,} of {len(held):,} {kind}"
    return Split(held, 0, int(text.sizes[~held].sum()), how)


def given(text: Survey, name: str) -> Split:
    """All of a text trains; what is held out comes from elsewhere."""
    check_length(text, name)
    return Split(None, text.characters, text.characters, "given")


def check_length(text: Survey, name: str) -> None:
    """Raise ValueError for what is too short to be one side of a split."""
    if text.characters < LEAST_CHARACTERS:
        raise ValueError(
            f"{name} has {text.characters:,} characters; {LEAST_CHARACTERS:,} are needed at least"
        )


def _by_document(text: Survey, share: float) -> NDArray[np.bool_] | None:
    """The documents with the smallest hashes, until the share is nearest; None if it cannot be near."""
    if len(text.sizes) < ENOUGH_DOCUMENTS:
        return None
    keys, same = np.unique(text.keys, return_inverse=True)  # copies of a document stay together
    weights = np.bincount(same, weights=text.sizes) / text.characters
    taken = np.cumsum(weights)
    last = int(np.abs(taken - share).argmin())
    if not 0.5 * share <= taken[last] <= 1.5 * share:
        return None
    return text.keys <= keys[last]


def sides(pieces: Iterable[Piece], split: Split) -> Iterator[tuple[bool, Piece]]:
    """Every piece with whether it is held out; a piece across the cut comes in two."""
    document, at = -1, 0
    for piece in pieces:
        document += piece.starts_document
        if split.held is not None:
            # more documents than were measured: the reader finds that the text has changed
            yield document < len(split.held) and bool(split.held[document]), piece
            continue
        before = min(max(0, split.cut - at), len(piece.text))
        if before:
            yield False, piece._replace(text=piece.text[:before])
        if before < len(piece.text):
            opens = piece.starts_document if not before else False
            yield True, Piece(piece.text[before:], opens or at + before == split.cut)
        at += len(piece.text)
