"""Training tokens/s of `fit` on `lstm + inner` beside a bare loop over torch.nn.LSTM, paired.

    python benchmarks/training_loop.py TEXT [--width 256] [--rounds 7]

Both read the same batches of characters, have the same shapes and use the same fused AdamW and clipping.
What fit adds (schedule, times, validation bookkeeping, checkpoints) is the difference. Rounds alternate;
medians and the pairwise ratio are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqstate.core.record import RunConfig
from seqstate.model import build_model
from seqstate.text.batches import Lanes
from seqstate.train import fit


class Bare(nn.Module):
    """What one would write by hand: embedding, nn.LSTM, tied linear layer."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, vocab_size)
        self.head.weight = self.embedding.weight

    def forward(self, tokens, state):
        hidden, state = self.lstm(self.embedding(tokens), state)
        return self.head(hidden), state


def bare_seconds(ids, vocab_size: int, width: int, steps: int, rows: int, context: int) -> float:
    model = Bare(vocab_size, width)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    reader, state = Lanes(ids, rows=rows, context=context, seed=0), None
    began = time.monotonic()
    for step in range(steps):
        tokens, targets, _ = reader.batch(step)
        logits, state = model(torch.from_numpy(tokens), state)
        state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(targets).flatten()
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return time.monotonic() - began


def our_seconds(ids, vocab_size: int, width: int, steps: int, rows: int, context: int) -> float:
    settled = RunConfig(
        state=f"lstm(width={width})",
        energy="inner",
        corpus="benchmark",
        steps=steps,
        batch_size=rows,
        context=context,
        eval_every=steps,
    )
    model = build_model(settled.state, settled.energy, vocab_size=vocab_size)
    return fit(model, ids, ids[: 2 * context], settled).wall_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = options.text.read_text(encoding="utf-8")
    letters = {letter: index for index, letter in enumerate(sorted(set(text)))}
    ids = np.array([letters[letter] for letter in text], np.uint16)
    shape = (len(letters), options.width, options.steps, options.rows, options.context)
    ours, bare = [], []
    for turn in range(options.rounds + 1):
        pair = our_seconds(ids, *shape), bare_seconds(ids, *shape)
        if turn:  # the first round warms up
            ours.append(pair[0])
            bare.append(pair[1])
    tokens = options.steps * options.rows * options.context
    for name, seconds in (("seqstate fit", ours), ("bare nn.LSTM", bare)):
        print(f"{name:14} {tokens / statistics.median(seconds):10,.0f} tokens/s")
    ratios = [b / a for a, b in zip(ours, bare, strict=True)]
    print(
        f"fit / bare     {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})"
    )
    print(
        f"torch {torch.__version__}, 1 thread, width {options.width}, {options.rounds} paired rounds"
    )


if __name__ == "__main__":
    main()
