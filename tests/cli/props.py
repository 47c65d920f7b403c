"""What the pages find on a reader's disk: texts, and models trained before. Made when first named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from documented import ROOT

SENTENCES = 120


class Props:
    """Makes what a line names and the folder does not hold yet. run: a seqstate command, in this folder."""

    def __init__(self, folder: Path, text: str, run: Callable[..., None]) -> None:
        self.folder, self.text, self.run = folder, text, run
        texts = ("book.txt", "test.txt", "more.txt", "input.txt", "list.txt", "corpus/a.txt")
        self.makers = {name: self._text for name in texts} | {
            "notes.jsonl": self._lines,
            "pairs.tsv": self._pairs,
            "model": self._trained("lstm(width=16)", "--energy", "multi_hamming(groups=4)"),
            "lstm": self._trained("lstm(width=16)"),
            "sharded": self._trained("lstm(width=16)"),
            "ngram": self._trained("ngram(order=3)"),
            "cache": self._trained("cache"),
            "ladder": self._ladder,
            "gpt2-folder": self._transformer,
        }

    def set_out(self, line: str) -> None:
        """Make everything `line` reads; what it writes (`--out NAME`, `.save("NAME")`) is left to it."""
        written = re.findall(r"--(?:out|onnx|arpa|safetensors)[ =]([\w./-]+)", line)
        written += re.findall(r"save\w*\(\"([\w./-]+)\"", line)
        for name, make in self.makers.items():
            top = name.partition("/")[0]
            named = re.search(rf"(?<![\w(+./-]){re.escape(top)}/?(?![\w(=.-])", line)
            place = self.folder / name
            if named and not place.exists() and (top not in written or "--resume" in line):
                place.parent.mkdir(exist_ok=True)
                make(place)

    def _text(self, place: Path) -> None:
        place.write_text(self.text, encoding="utf-8")

    def _lines(self, place: Path) -> None:
        lines = self.text.splitlines()
        rows = [{"text": line, "body": line, "title": line[:9]} for line in lines]
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def _pairs(self, place: Path) -> None:
        words = sorted({word.strip(".").lower() for word in self.text.split()})
        rows = [f"{one}\t{one[::-1]}\n" for one in words]
        place.write_text("".join(20 * rows), encoding="utf-8")

    def _trained(self, state: str, *more: str) -> Callable[[Path], None]:
        def make(place: Path) -> None:
            self.set_out("book.txt")
            self.run("train", "book.txt", "--state", state, *more, "--out", place.name)

        return make

    def _ladder(self, place: Path) -> None:
        self.set_out("book.txt")
        self.run(
            "compare", "book.txt", "--models", "ngram(order=3)", "rnn + inner", "--out", place.name
        )

    def _transformer(self, place: Path) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

        from seqstate.text.tokenizer import Tokenizer

        words = Tokenizer.train("byte", [])
        shape = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
        ends = {"bos_token_id": 256, "eos_token_id": 256}
        GPT2LMHeadModel(GPT2Config(vocab_size=257, **shape, **ends)).save_pretrained(place)
        names = {"bos_token": "<doc>", "eos_token": "<doc>"}
        tokens = PreTrainedTokenizerFast(tokenizer_object=words.model, **names)
        tokens.save_pretrained(place)


def records(folder: Path) -> None:
    """The committed records and the whole scripts, where the pages name them."""
    for name in ("docs", "benchmarks", "examples"):
        (folder / name).symlink_to(ROOT / name)
