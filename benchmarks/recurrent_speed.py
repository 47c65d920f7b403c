"""Training speed of the gated states beside a bare nn.LSTM of equal width and layers, in one process.

    python benchmarks/recurrent_speed.py [--width 128] [--layers 1 2] [--rounds 30]

A step is forward and backward over batch 16 x 128 vectors from a carried state. Steps take turns, so that
noise of the machine falls on all alike. One thread; time is CPU time of that thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from seqstate.core import registry
from seqstate.core.model import count_parameters
from seqstate.core.state import detach, state_bytes

BATCH, TIME = 16, 128
STATES = (
    "rnn",
    "gru",
    "lstm",
    "awd_lstm",
    "min_gru",
    "hamming_rnn(compare='none')",
    "hamming_rnn(compare='read')",
    "hamming_rnn(compare='inner')",
    "gated_slots",
    "inducing",
    "relay",
    "latent",
)


class Bare(nn.Module):
    """torch's LSTM and nothing else."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(width, width, layers, batch_first=True)

    def forward(self, x, state):
        return self.cell(x, state)


def stepper(model: nn.Module, width: int):
    model.train()
    x, kept = torch.randn(BATCH, TIME, width, requires_grad=True), [None]

    def step() -> float:
        began = time.thread_time()
        hidden, state = model(x, kept[0])
        hidden.sum().backward()
        kept[0] = detach(state)
        return time.thread_time() - began

    return step, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30, help="steps of each model")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, width {given.width}, {BATCH} x {TIME} tokens a step")
    print(
        f"{'model':38s} {'parameters':>10s} {'bytes':>6s} {'tokens/s':>9s} {'speed / nn.LSTM':>15s}"
    )
    for layers in given.layers:
        models = {"torch nn.LSTM": Bare(given.width, layers)}
        for name in STATES:
            models[name] = registry.build("states", name, width=given.width, layers=layers)
        compare(models, given.width, given.rounds, f", {layers} layer{'s' * (layers > 1)}")


def compare(models: dict[str, nn.Module], width: int, rounds: int, label: str) -> None:
    steps = {name: stepper(model, width) for name, model in models.items()}
    times = {name: [] for name in steps}
    for _ in range(rounds + 3):
        for name, (step, _) in steps.items():
            times[name].append(step())
    bare = times["torch nn.LSTM"][3:]
    for name, (_, kept) in steps.items():
        mine = times[name][3:]
        speed = statistics.median(b / a for a, b in zip(mine, bare, strict=True))
        rate = BATCH * TIME / statistics.median(mine)
        state = state_bytes(kept[0]) if name != "torch nn.LSTM" else 0
        print(
            f"{name + label:38s} {count_parameters(models[name]):10,d} {state:6d} "
            f"{rate:9,.0f} {speed:15.2f}"
        )


if __name__ == "__main__":
    main()
