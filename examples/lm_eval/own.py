"""Your text and your sentence pairs as data of lm-evaluation-harness; the .yaml files call these functions.

lm_eval passes what `--metadata` says, and the model's arguments, to every data set: `others` is not for us.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from datasets import Dataset

from seqstate.text.sources import documents as pieces_of

HERE = Path(__file__).resolve().parent


def documents(*, text: str = "", **others: Any) -> dict[str, Dataset]:
    """Every document of a file as `seqstate evaluate` reads it: a .txt is one, a .jsonl one a line."""
    return _test([{"text": document} for document in _read(text)])


def last_words(*, text: str = "", words: int = 32, **others: Any) -> dict[str, Dataset]:
    """Stretches of `words` words, the last of them the question (with the space before it, without the
    punctuation after it). Raises ValueError if no stretch ends in a word.
    """
    if words < 2:
        raise ValueError(f"words={words} leaves no word before the last; give 2 or more")
    found = []
    for document in _read(text):
        spans = [match.span() for match in re.finditer(r"\S+", document)]
        for first in range(0, len(spans) - words + 1, words):
            stretch = spans[first : first + words]
            before = document[stretch[0][0] : stretch[-2][1]]
            if last := re.match(r"\s+\w+", document[stretch[-2][1] : stretch[-1][1]]):
                found.append({"before": before, "word": last[0]})
    if not found:
        raise ValueError(f"{text} has no stretch of {words} words between spaces; try words=8")
    return _test(found)


def sentence_pairs(*, pairs: str = str(HERE / "pairs.jsonl"), **others: Any) -> dict[str, Dataset]:
    """Lines with `sentence_good` and `sentence_bad` (BLiMP's names). Raises ValueError for other lines."""
    found = []
    for number, line in enumerate(Path(pairs).read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        if not (row.get("sentence_good") and row.get("sentence_bad")):
            raise ValueError(
                f"{pairs}, line {number}: wanted sentence_good and sentence_bad, found {', '.join(row)}"
            )
        found.append({name: row[name] for name in ("sentence_good", "sentence_bad")})
    return _test(found)


def better(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """1 if the good sentence is likelier, 0.5 if both are equally likely (counted models tie at times)."""
    (good, _), (bad, _) = results
    return {"acc": 0.5 + 0.5 * ((good > bad) - (good < bad))}


def _read(text: str) -> list[str]:
    if not text:
        raise ValueError("no text was given; add --metadata text=FILE")
    found: list[str] = []
    for piece in pieces_of([text]):
        if piece.starts_document:
            found.append("")
        found[-1] += piece.text
    return found


def _test(rows: list[dict[str, str]]) -> dict[str, Dataset]:
    return {"test": Dataset.from_list(rows)}
