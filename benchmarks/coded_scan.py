"""Scoring every word for one state: coded look-ups beside a dense product of D numbers a word.

    python benchmarks/coded_scan.py --vocab 50000 262144 --groups 64 --codes 16

`after others`: the caches are full of other things (the weights of the dense product, or 64 MB read before).
`again`: the fifth call in a row. Microseconds of a Python call, median (least); one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from seqstate.native import coded, tiles

AGAIN = 5  # calls in a row: the first finds the caches full of other things, the last finds its own
CACHES = 1 << 24  # numbers whose reading leaves nothing else in the caches


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", type=int, nargs="+", default=[50_000, 262_144])
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--codes", type=int, default=16)
    parser.add_argument("--width", type=int, default=256, help="numbers a word of the dense peer")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"G = {options.groups}, C = {options.codes}, torch {torch.__version__}, us: median (least)"
    )
    for words in options.vocab:
        measure(words, options)


def measure(vocab: int, options: argparse.Namespace) -> None:
    tables = torch.randn(1, options.groups, options.codes)
    codes = torch.randint(options.codes, (vocab, options.groups), dtype=torch.uint8)
    bias = torch.randn(vocab)
    packed = coded.pack(codes)
    hidden, words = torch.randn(1, options.width), torch.randn(vocab, options.width)

    def scan() -> torch.Tensor:
        return coded.coded_logits(tables, codes, bias, packed)

    def scan_in_floats() -> torch.Tensor:
        with in_floats():
            return scan()

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "look-ups": scan,
        "look-ups, sums in float32": scan_in_floats,
        "look-ups, torch": lambda: tiles.coded_logits(tables, codes, bias),
        f"dense product, D = {options.width}": lambda: F.linear(hidden, words, bias),
    }
    wanted = tiles.coded_logits(tables.double(), codes, bias.double())
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    other = torch.zeros(CACHES)
    with torch.inference_mode():
        for _ in range(options.rounds):
            for name, way in ways.items():
                other.add_(1.0)
                taken[name].append([timed(way) for _ in range(AGAIN)])
        print(f"\n{vocab:,} words{'':<19} {'after others':>16} {'again':>16} {'largest error':>14}")
        for name, way in ways.items():
            places = [[one[place] for one in taken[name]] for place in (0, -1)]
            shown = [f"{statistics.median(one):,.0f} ({min(one):,.0f})" for one in places]
            error = f"{(way() - wanted).abs().max():.1e}" if name.startswith("look") else ""
            print(f"{name:<28} {shown[0]:>16} {shown[1]:>16} {error:>14}")


@contextmanager
def in_floats():
    """The path of processors without byte permutations."""
    kept, coded.scans_fixed = coded.scans_fixed, lambda: False
    yield
    coded.scans_fixed = kept


def timed(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return 1e6 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
