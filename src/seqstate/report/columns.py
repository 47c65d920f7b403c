"""The columns of the ladder table, once: the terminal, Markdown and the page all read this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seqstate.report import numerals


@dataclass(frozen=True)
class Column:
    """name: of the reading. head: two short lines. keep: who stays when there is little room (0 longest)."""

    name: str
    head: str
    unit: str
    write: Callable[[float], str]
    higher_is_better: bool
    about: str
    keep: int

    @property
    def title(self) -> str:
        """The head in one line."""
        return self.head.replace("-\n", "").replace("/\n", "/").replace("\n", " ")


COLUMNS = (
    Column(
        "parameters", "params", "", numerals.short, False, "Numbers that are learnt or counted", 3
    ),
    Column(
        "state_bytes",
        "state",
        "",
        numerals.size,
        False,
        "What is carried from the past",
        2,
    ),
    Column(
        "bits_per_token",
        "bits/\ntoken",
        "",
        numerals.bits,
        False,
        "Held-out bits for each token",
        4,
    ),
    Column(
        "bits_per_byte",
        "bits/\nbyte",
        "",
        numerals.bits,
        False,
        "Held-out bits for each byte of text: comparable over tokenisers",
        0,
    ),
    Column("perplexity", "perp-\nlexity", "", numerals.figures, False, "exp(nats per token)", 5),
    Column(
        "train_tokens_per_second",
        "train\ntok/s",
        "",
        numerals.short,
        True,
        "Training tokens read in a second",
        6,
    ),
    Column("cpu_seconds", "CPU\ns", "", numerals.seconds, False, "CPU time of the training", 7),
    Column(
        "generate_tokens_per_second",
        "gen\ntok/s",
        "",
        numerals.short,
        True,
        "Tokens generated in a second, one text at a time",
        8,
    ),
)
