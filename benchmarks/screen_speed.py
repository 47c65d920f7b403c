"""The k likeliest words of one state: by a screen, by all logits, and by FAISS, paired.

    python benchmarks/screen_speed.py [--vocab 50000 262144] [--energy inner ...] [--faiss]
    python benchmarks/screen_speed.py --model FOLDER TEXT...      a trained model's head, at states of a text

Without a model words are drawn: their lengths vary, a state leans towards one of them. Microseconds of a
Python call with one state, its own table in the caches as far as it fits, median over states (least); one
thread. `kept` is the share of the true k likeliest that a way finds, `scored` the words whose energy is paid
in full. --faiss (pip install faiss-cpu) adds its exact scan of inner products and, up to 100,000 words, its
graph (HNSW, 32 links, efSearch 64 and 256), whose making is not timed.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqstate.core import registry
from seqstate.core.energy import EnergyHead, HasCodes, Head
from seqstate.model import build_head

WARM = 3  # calls before the timed one
GRAPH_WORDS = 100_000  # most words that a graph is made of here: it takes minutes
Way = Callable[[Tensor], tuple[Tensor, float]]  # a state -> words found, words scored


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="*", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--vocab", type=int, nargs="+", default=[50_000, 262_144])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--energy", nargs="+", default=["inner", "multi_hamming(groups=16)"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--states", type=int, default=50)
    parser.add_argument("--faiss", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        if options.model:
            measure(*trained(options), options)
            return
        for vocab in options.vocab:
            for energy in options.energy:
                measure(*drawn(energy, vocab, options), options)


def trained(options: argparse.Namespace) -> tuple[str, Head, Tensor]:
    """A model's head and the states after evenly spread tokens of a text."""
    from seqstate.trained import Trained

    found = Trained.load(options.model)
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in options.text)
    vectors = found.hidden(text[: 200 * options.states])
    every = vectors[:: max(1, len(vectors) // options.states)][: options.states]
    return f"{found.config.state} + {found.config.energy}", found.model.head, every


def drawn(energy: str, vocab: int, options: argparse.Namespace) -> tuple[str, Head, Tensor]:
    torch.manual_seed(0)
    head = build_head(energy, width=options.width, vocab_size=vocab)
    table = head.table()
    table.mul_(0.5 + torch.rand(vocab, 1))
    wanted = table[torch.randint(vocab, (options.states,)), : options.width]
    towards = wanted / wanted.norm(dim=-1, keepdim=True)
    noise = torch.randn(options.states, options.width) / options.width**0.5
    return energy, head, 12 * (0.5 * towards + noise)


def measure(name: str, head: Head, states: Tensor, options: argparse.Namespace) -> None:
    k, ways = options.k, {}

    def every(state: Tensor) -> tuple[Tensor, float]:
        return head(state).topk(k).indices, head.vocab_size

    ways["all logits"] = every
    for spec in ("certified", "mismatches"):
        if spec == "mismatches" and not (
            isinstance(head, EnergyHead) and isinstance(head.energy, HasCodes)
        ):
            continue
        screen = registry.build("screens", spec, head=head)
        ways[spec] = by_screen(screen, k)
    if options.faiss and name.split("(")[0].split()[-1] == "inner":
        ways |= by_faiss(head, k)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    kept: dict[str, list[float]] = {way: [] for way in ways}
    scored: dict[str, list[float]] = {way: [] for way in ways}
    for state in states:
        for way, find in ways.items():
            for _ in range(WARM):  # the caches hold its own table, not its predecessor's
                find(state[None])
            began = time.perf_counter()
            words, count = find(state[None])
            taken[way].append(time.perf_counter() - began)
            true = set(every(state[None])[0][0].tolist())
            kept[way].append(len(true & set(words[0].tolist())) / k)
            scored[way].append(count)
    full = statistics.median(taken["all logits"])
    print(
        f"\n{name}, {head.vocab_size:,} words of {head.width}, k = {k}, torch {torch.__version__}"
    )
    print(f"{'':<18} {'us (least)':>18} {'times as fast':>14} {'kept':>7} {'scored':>9}")
    for way, seconds in taken.items():
        shown = f"{1e6 * statistics.median(seconds):,.0f} ({1e6 * min(seconds):,.0f})"
        ratio = full / statistics.median(seconds)
        share, paid = np.mean(kept[way]), np.mean(scored[way])
        print(f"{way:<18} {shown:>18} {ratio:>14.1f} {share:>7.3f} {paid:>9,.0f}")


def by_screen(screen, k: int) -> Way:
    def find(state: Tensor) -> tuple[Tensor, float]:
        found = screen.shortlist(state, k)
        return found.words.gather(-1, found.logits.topk(k).indices), int(found.scored)

    return find


def by_faiss(head: Head, k: int) -> dict[str, Way]:
    """A bias is one number more of every word, by which a state has 1."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    bias = torch.zeros(head.vocab_size) if head.bias is None else head.bias
    words = torch.cat([head.weight, bias[:, None]], 1).numpy()
    flat = faiss.IndexFlatIP(words.shape[1])
    flat.add(words)
    indices = {"FAISS flat": (flat, None)}
    if len(words) <= GRAPH_WORDS:
        graph = faiss.IndexHNSWFlat(words.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        graph.add(words)
        indices |= {f"FAISS HNSW {ef}": (graph, ef) for ef in (64, 256)}

    def way(index, breadth) -> Way:
        def find(state: Tensor) -> tuple[Tensor, float]:
            if breadth:
                index.hnsw.efSearch = breadth
            asked = torch.nn.functional.pad(state, (0, 1), value=1.0).numpy()
            return torch.from_numpy(index.search(asked, k)[1]), float("nan")

        return find

    return {name: way(*given) for name, given in indices.items()}


if __name__ == "__main__":
    main()
