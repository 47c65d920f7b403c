"""Cost of a token after a long prefix, and of reading 16,384 tokens, for relays and slots beside attention.

    python benchmarks/relay_speed.py [--width 128] [--layers 2] [--rounds 40] [--long 16384]

Decoding: batch 1, one token after prefixes of 256 to 65,536 tokens; contenders take turns, so that noise of
the machine falls on all alike. Attention keeps all keys and values (window 0): its prefix is a cache of
random keys of that length, as reading it would take long. Reading: one forward pass without gradient. One
thread; time is CPU time of the process.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from seqstate.core import registry
from seqstate.core.state import State, state_bytes

PREFIXES = (256, 1024, 4096, 16_384, 65_536)
STATES = ("relay", "inducing", "gated_slots", "latent", "attention(window=0)")
PIECE = 4096


def timed(step: Callable) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def take_turns(steps: dict[str, Callable], rounds: int, warm: bool) -> dict[str, list[float]]:
    """Seconds of every round of every contender, after a round that warms up.

    warm: each turn is taken twice and timed once, as a contender with a large state empties the caches.
    """
    times = {spec: [] for spec in steps}
    for _ in range(rounds + 1):
        for spec, step in steps.items():
            if warm:
                step()
            times[spec].append(timed(step))
    return {spec: found[1:] for spec, found in times.items()}


def after_prefix(model: nn.Module, spec: str, tokens: int, width: int) -> State:
    """The state of one row that has read `tokens` vectors."""
    if spec.startswith("attention"):
        shape = (1, tokens, model.shape.kv_heads, model.shape.head_width)
        keys, values = (tuple(torch.randn(shape) for _ in model.layers) for _ in range(2))
        return {"keys": keys, "values": values, "read": torch.tensor([tokens])}
    state = None
    for begin in range(0, tokens, PIECE):
        _, state = model(torch.randn(1, min(PIECE, tokens - begin), width), state)
    return state


def decoding(models: dict[str, nn.Module], width: int, rounds: int) -> None:
    print(
        f"\n{'ms a token after':22s}"
        + "".join(f"{n:>10,d}" for n in PREFIXES)
        + "   bytes at the end"
    )
    x = torch.randn(1, 1, width)
    rows = {spec: [] for spec in models}
    sizes = {}
    for tokens in PREFIXES:
        states = {spec: after_prefix(model, spec, tokens, width) for spec, model in models.items()}
        steps = {spec: partial(model, x, states[spec]) for spec, model in models.items()}
        times = take_turns(steps, rounds, warm=True)
        for spec in models:
            rows[spec].append(1e3 * statistics.median(times[spec]))
            sizes[spec] = state_bytes(states[spec])
    for spec, found in rows.items():
        print(f"{spec:22s}" + "".join(f"{ms:10.2f}" for ms in found) + f"{sizes[spec]:19,d}")


def reading(models: dict[str, nn.Module], width: int, tokens: int, rounds: int) -> None:
    x = torch.randn(1, tokens, width)
    steps = {spec: partial(model, x) for spec, model in models.items()}
    times = take_turns(steps, rounds, warm=False)
    full = times[STATES[-1]]
    print(
        f"\n{f'reading {tokens:,d} tokens':22s}{'seconds':>10s}{'tokens/s':>12s}{'attention / it':>16s}"
    )
    for spec, found in times.items():
        middle = statistics.median(found)
        ratio = statistics.median(b / a for a, b in zip(found, full, strict=True))
        print(f"{spec:22s}{middle:10.2f}{tokens / middle:12,.0f}{ratio:16.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40, help="tokens decoded after each prefix")
    parser.add_argument("--long", type=int, default=16_384, help="tokens read at once")
    parser.add_argument("--readings", type=int, default=3, help="rounds of that")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, {machine}, 1 thread, {given.layers} layers of {given.width}")
    options = {"width": given.width, "layers": given.layers}
    models = {spec: registry.build("states", spec, **options).eval() for spec in STATES}
    with torch.no_grad():
        decoding(models, given.width, given.rounds)
        reading(models, given.width, given.long, given.readings)


if __name__ == "__main__":
    main()
