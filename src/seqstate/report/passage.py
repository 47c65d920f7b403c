"""The held-out passage: what every token of it cost each model, and where memory helps."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass

from seqstate.report import numerals
from seqstate.report.summary import Ladder, Row

EDGES = (0.5, 1, 2, 3, 4, 6, 8, 12)  # bits at which the colour of a token changes
SHIFTS = (0.25, 1, 2, 4)  # bits of difference, either way, at which it does


@dataclass(frozen=True)
class Passage:
    """text: token texts. nats [rows][tokens]: means over seeds. against: the two rows compared at first."""

    text: tuple[str, ...]
    rows: tuple[Row, ...]
    nats: tuple[tuple[float, ...], ...]
    seen_from: int
    against: tuple[int, int]
    spaced: bool
    left_out: int

    @property
    def tokens(self) -> list[dict[str, object]]:
        """What the page prints of each token: its text and, for a line end, a sign before the break."""
        return [
            {"text": visible(text), "breaks": "\n" in text, "level": self.level(0, i)}
            for i, text in enumerate(self.text)
        ]

    def level(self, row: int, token: int) -> int:
        """The colour of a token: how many edges its bits reach."""
        return sum(self.nats[row][token] / math.log(2) >= edge for edge in EDGES)

    def bits(self, row: int) -> float:
        """Mean bits per token of a row on this passage."""
        return sum(self.nats[row]) / len(self.text) / math.log(2)

    @property
    def caption(self) -> str:
        count = numerals.whole(len(self.text))
        best, nats = self.rows[0], sorted(self.nats[0], reverse=True)
        tenth = max(1, len(nats) // 10)
        share = sum(nats[:tenth]) / (sum(nats) or 1.0)
        where = (
            f" (after {numerals.plural(self.seen_from, 'token')} of the same text)"
            if self.seen_from
            else ""
        )
        return (
            f"Each of {count} held-out tokens{where} by its surprise: {best.short} spends "
            f"{numerals.bits(self.bits(0))} bits per token here, and the hardest tenth of the tokens "
            f"takes {numerals.percent(share)} of them."
        )

    @property
    def difference_caption(self) -> str:
        """One sentence on the two rows compared at first; empty with one row."""
        first, second = self.against
        if first == second:
            return ""
        saved = [b - a for a, b in zip(self.nats[first], self.nats[second], strict=True)]
        place = max(range(len(saved)), key=lambda index: saved[index])
        share = sum(value > 0 for value in saved) / len(saved)
        mean = sum(saved) / len(saved) / math.log(2)
        return (
            f"Against {self.rows[second].short}, {self.rows[first].short} "
            f"{'saves' if mean >= 0 else 'loses'} {numerals.gap(abs(mean))} bits per token on this passage, "
            f"is ahead on {numerals.percent(share)} of the tokens, and is furthest ahead on "
            f"“{visible(self.text[place]).strip() or '␣'}” (token {place + 1}, "
            f"{saved[place] / math.log(2):.1f} bits)."
        )


def passage(ladder: Ladder) -> Passage | None:
    """The passage most rows have in common, or None if no record holds one."""
    texts: Counter[tuple[str, ...]] = Counter()
    for run in ladder.runs:
        if run.surprise.get("text") and run.surprise.get("nats"):
            texts[tuple(run.surprise["text"])] += 1
    if not texts:
        return None
    text = max(texts, key=lambda one: (texts[one], one))
    read = [(row, _nats(row, text)) for row in ladder.rows]
    known = [(row, nats) for row, nats in read if nats]
    if not known:
        return None
    rows = tuple(row for row, _ in known)
    nats = tuple(nats for _, nats in known)
    return Passage(
        text,
        rows,
        nats,
        _start(ladder, text),
        _against(rows),
        _spaced(text),
        len(read) - len(known),
    )


def _nats(row: Row, text: tuple[str, ...]) -> tuple[float, ...]:
    """Means over the row's seeds; empty if it read another passage."""
    read = [
        run.surprise["nats"] for run in row.runs if tuple(run.surprise.get("text") or ()) == text
    ]
    read = [values for values in read if len(values) == len(text)]
    return tuple(sum(values) / len(values) for values in zip(*read, strict=True))


def _start(ladder: Ladder, text: tuple[str, ...]) -> int:
    starts = [
        run.surprise.get("seen_from")
        for run in ladder.runs
        if tuple(run.surprise.get("text") or ()) == text
    ]
    return next((start for start in starts if isinstance(start, int)), 0)


def _against(rows: tuple[Row, ...]) -> tuple[int, int]:
    """The best row and the one with the smallest state (the last row, if that is the best itself)."""
    sizes = [row.mean("state_bytes") for row in rows]
    known = [(size, index) for index, size in enumerate(sizes) if size is not None]
    least = min(known)[1] if known else len(rows) - 1
    return (0, least if least != 0 else len(rows) - 1)


def _spaced(text: tuple[str, ...]) -> bool:
    """Whether the tokens are words whose spaces the tokeniser dropped."""
    return any(len(token) > 1 for token in text) and not any(
        token != token.strip() for token in text
    )


def visible(text: str) -> str:
    """Text with control characters as signs and nothing that turns the reading direction of the page."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    code, kind = ord(character), unicodedata.category(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if (
        kind == "Cs"
        or kind == "Cc"
        or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    ):
        return "\ufffd"
    return character
