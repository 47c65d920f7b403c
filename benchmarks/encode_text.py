"""Encoding speed, ours against the tokenizers library's encode_batch_fast, paired, on a text of your own.

    python benchmarks/encode_text.py FILE [--megabytes 20] [--repeats 3]

Prints MB per CPU second of both and the median of the paired ratios; the ids are compared first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from seqstate.text.chunks import Piece, blocks
from seqstate.text.tokenizer import KINDS, Tokenizer


def ours(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    pieces = [Piece(text, False) for text in texts]
    return np.concatenate(list(tokenizer.encode_pieces(pieces, boundary=False))).tolist()


def library(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    found: list[int] = []
    for at in range(0, len(texts), 32):
        for encoding in tokenizer.model.encode_batch_fast(texts[at : at + 32]):
            found += encoding.ids
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    text = options.file.read_bytes()[: int(options.megabytes * 1e6)].decode("utf-8", "ignore")
    size = len(text.encode()) / 1e6
    texts = [block.text for block in blocks([Piece(text, True)])]
    for kind in KINDS:
        learnt = Tokenizer.train(kind, texts)
        assert ours(learnt, texts) == library(learnt, texts)
        times: dict = {ours: [], library: []}
        for _ in range(options.repeats):
            for way, seconds in times.items():
                fresh = Tokenizer(learnt.model)  # nothing remembered
                began = time.process_time()
                way(fresh, texts)
                seconds.append(time.process_time() - began)
        ratios = [b / a for a, b in zip(*times.values(), strict=True)]
        speeds = [size / statistics.median(seconds) for seconds in times.values()]
        print(
            f"{kind:5} ours {speeds[0]:7.1f} MB/s  library {speeds[1]:5.1f} MB/s  "
            f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
