"""Training and generation speed, state and memory of every rung at equal width, beside torch's nn.LSTM.

    python benchmarks/rung_speed.py [SPEC ...] [--width 128] [--layers 1] [--text FILE]
        [--write docs/rungs.md]

Whole language models over 256 words (bytes), `inner` as output of those that need one, their options else
the defaults. A training step is forward and backward of the loss of 16 x 128 tokens from the start; a
counted rung is estimated instead, from 200,000 bytes of --text (Zipf noise without one). Generation is one
row, token by token, after a prompt of 128. `alone` is the state without words in and out, against an
nn.LSTM of equal width and layers whose steps take turns with its own. Memory is the growth of the peak
resident set by the first training steps, in a process of its own. One thread; time is its CPU time, medians.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import marked
import numpy as np
import torch
from torch import Tensor, nn

from seqstate.core import registry
from seqstate.core.model import Counted, LanguageModel, count_parameters
from seqstate.core.spec import parse
from seqstate.core.state import state_bytes
from seqstate.generate import generate
from seqstate.model import NeuralLM, build_model

VOCAB, BATCH, TIME, COUNTED, PROMPT = 256, 16, 128, 200_000, 128
PEER = "torch nn.LSTM"
HEADER = [
    "rung", "parameters", "training tokens/s", "alone / nn.LSTM", "generation tokens/s",
    "state bytes after 128", "after 1,024", "training memory MB",
]  # fmt: skip


class Setting(NamedTuple):
    width: int
    layers: int
    seconds: float  # of CPU time for each of training and generation
    text: np.ndarray


class TorchLSTM(LanguageModel):
    """What one writes without this library: embedding, nn.LSTM, linear layer."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.vocab_size = VOCAB
        self.embed, self.head = nn.Embedding(VOCAB, width), nn.Linear(width, VOCAB)
        self.body = nn.LSTM(width, width, layers, batch_first=True)

    def init_state(self, batch_size: int):
        zeros = torch.zeros(batch_size, self.body.num_layers, self.body.hidden_size)
        return zeros, zeros

    def forward(self, tokens, state=None, lengths=None):
        state = self.init_state(len(tokens)) if state is None else state
        # torch has layers on axis 0
        before = tuple(part.transpose(0, 1).contiguous() for part in state)
        hidden, after = self.body(self.embed(tokens), before)
        return self.head(hidden), tuple(part.transpose(0, 1) for part in after)


def build(name: str, setting: Setting) -> LanguageModel:
    if name == PEER:
        return TorchLSTM(setting.width, setting.layers)
    spec = parse(name)
    options = registry.options(registry.find("states", spec.name))
    wanted = {"width": setting.width, "layers": setting.layers}
    spec = spec.replace(**{key: value for key, value in wanted.items() if key in options})
    return build_model(spec, vocab_size=VOCAB)


def seconds_of(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def rounds(functions: list[Callable[[], object]], budget: float) -> list[list[float]]:
    """CPU seconds of each, taking turns until the budget is spent: 3 rounds or more after a first."""
    for function in functions:
        function()
    times, spent = [], 0.0
    while len(times) < 3 or (spent < budget and len(times) < 50):
        times.append([seconds_of(function) for function in functions])
        spent += sum(times[-1])
    return [list(column) for column in zip(*times, strict=True)]


def resident_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def vector_step(body: Callable, x: Tensor) -> None:
    body(x)[0].sum().backward()


def alone(model: LanguageModel, setting: Setting) -> str:
    if not isinstance(model, NeuralLM):
        return "-"
    x = torch.randn(BATCH, TIME, setting.width, requires_grad=True)
    peer = nn.LSTM(setting.width, setting.width, setting.layers, batch_first=True)
    mine, theirs = rounds(
        [lambda: vector_step(model.states, x), lambda: vector_step(peer, x)], setting.seconds
    )
    return f"{statistics.median(b / a for a, b in zip(mine, theirs, strict=True)):.2f}"


def training(model: LanguageModel, setting: Setting) -> tuple[float, float]:
    """Tokens per CPU second, and bytes by which the peak of memory grew."""
    if isinstance(model, Counted):
        steps = [lambda: model.count(setting.text, boundary=0)]
        tokens = len(setting.text)
    else:
        rows = torch.from_numpy(setting.text[: BATCH * TIME].astype(np.int64)).view(BATCH, TIME)
        targets = rows.roll(-1, 1)
        steps = [lambda: model.nll(rows, targets)[0].sum().backward()]
        tokens = rows.numel()
    gc.collect()
    before = resident_peak()
    steps[0]()
    steps[0]()  # gradients stay: as in training, they are there while the next are computed
    grown = resident_peak() - before
    (times,) = rounds(steps, setting.seconds)
    return tokens / statistics.median(times), grown


def generation(model: LanguageModel, setting: Setting) -> float:
    """Tokens per CPU second, from the time of long runs less that of the first token's."""
    prompt = [setting.text[:PROMPT].astype(int).tolist()]
    few, many = 1, 33
    short, long = rounds(
        [
            lambda: list(generate(model, prompt, tokens=few)),
            lambda: list(generate(model, prompt, tokens=many)),
        ],
        setting.seconds,
    )
    return (many - few) / statistics.median(b - a for a, b in zip(short, long, strict=True))


def carried(model: LanguageModel, setting: Setting, tokens: int) -> int:
    state, text = None, torch.from_numpy(setting.text[:tokens].astype(np.int64))[None]
    with torch.inference_mode():
        for piece in text.split(TIME, 1):
            _, state = model.next_logits(piece, state)
    return state_bytes(state)


def measure(name: str, setting: Setting) -> list[str]:
    torch.manual_seed(0)
    model = build(name, setting).train()
    speed, memory = training(model, setting)
    ratio = "1.00" if name == PEER else alone(model, setting)
    model.eval()
    return [
        name if name == PEER else f"`{name}`",
        f"{count_parameters(model):,d}" if count_parameters(model) else "counted",
        f"{speed:,.0f}",
        ratio,
        f"{generation(model, setting):,.0f}",
        f"{carried(model, setting, 128):,d}",
        f"{carried(model, setting, 1024):,d}",
        f"{memory / 1e6:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("specs", nargs="*", metavar="SPEC", help="rungs (default: all)")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1, help="of the rungs that have layers")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time of each measurement")
    parser.add_argument("--text", type=Path, help="bytes to read, 200,000 or more")
    parser.add_argument("--write", type=Path, help="the document whose table to replace")
    given = parser.parse_args()
    if given.specs and given.write:
        parser.error("--write wants all rungs; leave out SPEC")
    if given.text:
        text = np.frombuffer(given.text.read_bytes()[:COUNTED], np.uint8)
        if len(text) < COUNTED:
            parser.error(f"{given.text} has {len(text)} bytes; wanted are {COUNTED} or more")
    else:
        text = np.random.default_rng(0).zipf(1.5, COUNTED).clip(max=VOCAB - 1).astype(np.uint8)
    torch.set_num_threads(1)
    setting = Setting(given.width, given.layers, given.seconds, text)
    rows = []
    # a process each, so that the peak of memory is its own; forked before anything is computed
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name in [PEER, *(given.specs or registry.names("states"))]:
            rows.append(pool.apply(measure, (name, setting)))
            print(*rows[-1], flush=True)
    made = (
        f"Width {given.width}, layers {given.layers}, {given.text.name if given.text else 'Zipf noise'}; "
        f"torch {torch.__version__}, {platform.machine()}, one thread."
    )
    print(made)
    if given.write:
        table = marked.table(HEADER, rows, "l" + "r" * (len(HEADER) - 1))
        marked.replace(given.write, "rungs", f"{made}\n\n{table}")


if __name__ == "__main__":
    main()
