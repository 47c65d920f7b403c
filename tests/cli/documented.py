"""The commands and Python lines that the pages show, and what makes them small enough for a test.

What counts as a command: in a `console` block every line that starts with `$ `, in a `sh` or `bash` block and
in an indented block every line; a line that ends with a backslash goes on in the next. A Python block with a
title="..." is a file that the page asks the reader to write.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROGRAMS = (
    r"(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:seqstate|python3?|pip|make|pytest|torchrun|ray|srun|sbatch)\b"
)
INLINE = re.compile(r"`((?:seqstate (?!\+)[a-z]|python (?:benchmarks|examples)/)[^`]*)`")
FENCE = re.compile(r"^```(\S*)(.*?)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
INDENTED = re.compile(rf"^\n((?:    {PROGRAMS}.*\n)(?:    .*\n)*)", flags=re.MULTILINE)
SHELL = ("console", "sh", "bash", "")


@dataclass(frozen=True)
class Block:
    """One block of a page. language: "" for an indented one; title: the file it is, if any."""

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The lines to type, without prompts and comments."""
        if self.language not in SHELL:
            return []
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        elif self.language == "":
            lines = [line for line in lines if re.match(PROGRAMS, line)]
        return [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines]


def blocks(page: Path) -> list[Block]:
    """All fenced and all indented blocks of a page that hold commands or code."""
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
    found = []
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match[2])
        found.append((match.start(), match[1], title[1] if title else "", match[3]))
    outside = FENCE.sub(lambda match: re.sub(r"[^\n]", "~", match[0]), text)
    for match in INDENTED.finditer(outside):
        told = re.sub(r"^    ", "", match[1], flags=re.MULTILINE)
        found.append((match.start(1), "", "", told))
    return [
        Block(name, text.count("\n", 0, at) + 1, language, title, told)
        for at, language, title, told in sorted(found)
    ]


def in_running_text(page: Path) -> list[str]:
    """Commands between backticks in sentences and tables."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in INLINE.findall(text)]


def small(words: list[str]) -> list[str]:
    """The words of a seqstate command, for a tiny text and a few steps; nothing else about it changes."""
    if words[0] not in ("compare", "train"):
        return words
    words = _without(words, "--budget", "--steps", "--epochs", "--tokens", "--checkpoint-seconds")
    byte_sized = {"byte", "char"} & set(words)
    words = _without(words, "--vocab-size")
    words += ["--steps", "2", "--context", "16", "--batch-size", "2"]
    words += [] if byte_sized else ["--vocab-size", "300"]
    if words[0] == "compare":
        if "--seeds" in words:
            words = [*_without(words, "--seeds"), "--seeds", "2"]
        words = [*_without(words, "--jobs", "--parameters"), "--jobs", "1", "--parameters", "20000"]
        if len(words) < 2 or words[1].startswith("-"):
            words.insert(1, "book.txt")  # in place of the default corpus
    return words


def small_python(text: str) -> str:
    """A Python block with its training cut to two steps on a small vocabulary."""
    text = re.sub(r"\bsteps=[\d_]+", "steps=2, vocab_size=300", text)
    return re.sub(r"\bseconds=[\d_.]+", "steps=2, vocab_size=300", text)


def _without(words: list[str], *options: str) -> list[str]:
    """The words without these options, each of which has one value."""
    kept, skip = [], False
    for word in words:
        if skip or word in options:
            skip = not skip
        else:
            kept.append(word)
    return kept
