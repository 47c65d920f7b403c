"""Seconds to certify which words a linear head can make the likeliest: every word, witness or proof.

    python benchmarks/certify.py                                   # drawn heads, V = 10,000, D = 64
    python benchmarks/certify.py --model DIR --text FILE           # a trained model's head

Drawn heads: `gaussian` (independent words) and `clumped` (rare words short and close together, biases at
the logarithm of Zipf's law, as training leaves them). CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from seqstate.bottleneck import audit


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    if arguments.model:
        report(arguments.model, *trained(arguments.model, arguments.text), arguments.ball)
        return
    for name, draw in (("gaussian", gaussian), ("clumped", clumped)):
        torch.manual_seed(0)
        head = draw(arguments.words, arguments.width)
        report(name, head, torch.randn(512, arguments.width), arguments.ball)


def report(name: str, model: torch.nn.Module, data: Tensor, ball: bool) -> None:
    """Print one line a reading."""
    begun = time.process_time()
    readings = audit(model, data, instruments=[f"unargmaxable(words=1000000, ball={ball})"])
    seconds = time.process_time() - begun
    for reading in readings:
        found = f"{reading.tags['found']} of {reading.count} words"
        print(f"{name}: {reading.name} {found} {reading.tags['note']}")
    print(f"{name}: {seconds:.1f} CPU s")


def gaussian(words: int, width: int) -> torch.nn.Linear:
    head = torch.nn.Linear(width, words)
    with torch.no_grad():
        head.weight.normal_(std=width**-0.5)
        head.bias.normal_()
    return head


def clumped(words: int, width: int) -> torch.nn.Linear:
    head = gaussian(words, width)
    rare = words // 5
    with torch.no_grad():
        head.weight[rare:] *= 0.3
        head.weight[rare:] += 0.1 * torch.randn(width)
        head.bias.copy_(-torch.arange(1, words + 1).float().log())
    return head


def trained(folder: str, text: str) -> tuple[torch.nn.Module, Tensor]:
    from seqstate.trained import Trained

    loaded = Trained.load(folder)
    ids = loaded.tokenizer.encode(Path(text).read_text(encoding="utf-8")[:20_000])
    rows = torch.as_tensor(ids)[: len(ids) // 64 * 64]
    return loaded.model, rows.long().view(-1, 64)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--words", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--model", help="folder of a trained model")
    parser.add_argument("--text", help="text whose contexts give the hidden vectors")
    parser.add_argument("--ball", action="store_true", help="also within the longest hidden vector")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
