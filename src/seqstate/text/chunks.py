"""Cuts long text into blocks at places where no token can lie across, whatever pieces it arrives in.

Blocks depend on the text alone, so encoding a stream equals encoding the whole. A stretch of BLOCK characters
without any safe place (a line of base64, say) is cut at its end; encoding a whole text cuts it there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from seqstate.text.patterns import SAFE_CUT
from seqstate.text.trees import Tree

BLOCK = 1 << 16  # characters


class Piece(NamedTuple):
    """A stretch of a document; a document is its pieces joined, the first of which starts it.

    tree: whose words the document is, where it comes from a treebank; it is then one piece.
    """

    text: str
    starts_document: bool
    tree: Tree | None = None


def blocks(pieces: Iterable[Piece], size: int = BLOCK) -> Iterator[Piece]:
    """The same documents in pieces of at most `size` characters, cut at safe places."""
    kept: Piece | None = None  # may still grow
    for text, starts_document, *_ in pieces:
        if kept is None or starts_document:
            if kept is not None:
                yield kept
            kept = Piece(text, True)
        else:
            kept = Piece(kept.text + text, kept.starts_document)
        at = 0
        while len(kept.text) - at > size:
            cut = _last_safe_cut(kept.text, at, at + size)
            yield Piece(kept.text[at:cut], kept.starts_document and at == 0)
            at = cut
        if at:
            kept = Piece(kept.text[at:], False)
    if kept is not None:
        yield kept


def _last_safe_cut(text: str, start: int, end: int) -> int:
    """The last safe place inside text[start:end]; end if there is none."""
    for reach in (512, end - start - 1):  # nearly always the first
        cuts = [cut.start() for cut in SAFE_CUT.finditer(text, max(start + 1, end - reach), end)]
        if cuts:
            return cuts[-1]
    return end
