"""Scoring every word for one state: coded look-ups beside a dense product of D numbers a word.

python benchmarks/coded_scan.py --vocab 50000 --groups 64 --codes 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from seqstate.native import coded, tiles

AGAIN = 5  # calls in a row: the first finds the caches full of other things, the last finds its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vocab", type=int, default=50_000)
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--codes", type=int, default=16)
    parser.add_argument("--width", type=int, default=256, help="numbers a word of the dense peer")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tables = torch.randn(1, options.groups, options.codes)
    codes = torch.randint(options.codes, (options.vocab, options.groups), dtype=torch.uint8)
    bias = torch.randn(options.vocab)
    packed = coded.pack(codes)
    hidden, words = torch.randn(1, options.width), torch.randn(options.vocab, options.width)
    ways = {
        "look-ups, native": lambda: coded.coded_logits(tables, codes, bias, packed),
        "look-ups, torch": lambda: tiles.coded_logits(tables, codes, bias),
        f"dense product, D = {options.width}": lambda: F.linear(hidden, words, bias),
    }
    assert torch.equal(ways["look-ups, native"](), ways["look-ups, torch"]())
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(options.rounds):
            for name, way in ways.items():
                taken[name].append([timed(way) for _ in range(AGAIN)])
    print(f"{options.vocab:,} words, torch {torch.__version__}, one thread, medians in us")
    print(f"{'':<28} {'after others':>13} {'again':>10}")
    for name, rounds in taken.items():
        first, last = (statistics.median(one[place] for one in rounds) for place in (0, -1))
        print(f"{name:<28} {first:13,.0f} {last:10,.0f}")


def timed(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return 1e6 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
