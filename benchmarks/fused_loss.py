"""Time and memory of a training step of the output layer: fused losses beside nn.Linear + cross_entropy.

    python benchmarks/fused_loss.py [--vocab 8192 32768 131072] [--threads 1 2] [--rounds 15] [--memory]
        [--width 256] [--only soft_bits rbf coded_hamming] [--precision bfloat16]

A step is the mean loss of N = 1024 hidden vectors of D numbers over V words, and the gradients of
everything. All contenders take turns, so that noise of the machine falls on all alike; the table gives the
median over rounds of the time relative to nn.Linear + cross_entropy in the same round. One thread: CPU time
of the process; more threads: time on the wall. `--memory` measures, in a process for each contender, how far
the peak of its resident memory rises during the step beyond the gradients it returns. `--only` takes the
contenders whose names have one of these words in them, and nn.Linear + cross_entropy. `--precision bfloat16`
gives hidden vectors in bfloat16, as a body under autocast leaves them, to nn.Linear + cross_entropy under
autocast and to the losses that multiply such numbers, which are also timed on the same vectors in float32.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate import native
from seqstate.core.registry import build
from seqstate.energies.multi_hamming import ACTIVATIONS

BASE = "nn.Linear + cross_entropy"
NAIVE = "multi_hamming(groups=8) as its formula, all at once"


def ours(energy: str, width: int, **options) -> tuple:
    """A head of this package, and its own loss."""

    def make(vocab: int) -> nn.Module:
        if energy in ("mos", "coded_hamming"):
            return build("energies", energy, width=width, vocab_size=vocab, **options)
        return build("energies", energy, width=width, **options).over(vocab)

    return make, lambda head, h, y: head.loss(h, y)


Contender = tuple[Callable[[int], nn.Module], Callable[..., Tensor]]


def contenders(width: int, precision: str = "float32") -> dict[str, Contender]:
    """Name -> (what makes the module that holds the parameters, its mean loss)."""

    def linear(vocab: int) -> nn.Module:
        return nn.Linear(width, vocab)

    found = {BASE: (linear, lambda m, h, y: F.cross_entropy(m(h), y))}
    if hasattr(F, "linear_cross_entropy"):
        options = nn.LinearCrossEntropyOptions(batch_chunk_size=256)
        found["torch's linear_cross_entropy, chunks of 256"] = (
            linear,
            lambda m, h, y: F.linear_cross_entropy(
                h, m.weight, y, linear_bias=m.bias, options=options
            ),
        )
    found["inner"] = ours("inner", width)
    for groups in (4, 8, 16, 32):
        found[f"multi_hamming(groups={groups})"] = ours("multi_hamming", width, groups=groups)
    for activation in sorted(set(ACTIVATIONS) - {"sigmoid"}):
        for groups in (8, 32):
            name = f'multi_hamming(groups={groups}, activation="{activation}")'
            found[name] = ours("multi_hamming", width, groups=groups, activation=activation)
    if precision == "bfloat16":
        return in_both(found)
    for groups in (8, 32):
        found[f"rbf(groups={groups})"] = ours("rbf", width, groups=groups)
    for distance in ("squashed", "exponential", "clipped", "tanh"):
        found[f'hamming(distance="{distance}")'] = ours("hamming", width, distance=distance)
    found[f"soft_bits(bits={2 * width})"] = ours("soft_bits", width, bits=2 * width)
    for groups in (8, 32, 64):
        fixed = {"groups": groups, "codes": 16, "learn": "fixed"}
        found[f'coded_hamming(groups={groups}, codes=16, learn="fixed")'] = ours(
            "coded_hamming", width, **fixed
        )
    found["mos(components=4)"] = ours("mos", width, components=4)
    found["mixture of 4 softmaxes as published"] = (
        ours("mos", width, components=4)[0],
        published_mixture,
    )
    found[NAIVE] = ours("multi_hamming", width, groups=8)[0], naive_multi_hamming
    return found


def in_both(found: dict[str, Contender]) -> dict[str, Contender]:
    """Each as it runs under autocast, and this package's on the same numbers in float32 as well."""

    def short(loss):
        def run(module, hidden, targets):
            with torch.autocast("cpu", torch.bfloat16):
                return loss(module, hidden, targets)

        return run

    def whole(loss):
        return lambda module, hidden, targets: loss(module, hidden.float(), targets)

    both = {BASE: (found[BASE][0], short(found[BASE][1]))}
    for name, (make, loss) in found.items():
        if name.startswith(("inner", "multi_hamming")):
            both[f"{name} in float32"] = make, whole(loss)
            both[name] = make, short(loss)
    return both


def published_mixture(head, hidden: Tensor, targets: Tensor) -> Tensor:
    """Yang et al. 2018: probabilities are mixed, then logarithms taken."""
    log_pi, facets = head.mixture(hidden)
    probabilities = F.linear(facets, head.weight, head.bias).softmax(-1)
    mixed = (log_pi.exp().unsqueeze(-1) * probabilities).sum(-2)
    return F.nll_loss((mixed + 1e-8).log(), targets)


def naive_multi_hamming(head, hidden: Tensor, targets: Tensor) -> Tensor:
    """All N x V x G arguments at once."""
    energy = head.energy
    h, w = (x.unflatten(-1, (energy.groups, -1)) for x in (hidden, head.weight))
    match = energy.log_a.exp() * torch.einsum("ngk,vgk->nvg", h, w) + energy.b
    logits = torch.sigmoid(match.clamp(-30, 30)) @ energy.log_tau.exp()
    return F.cross_entropy(logits + head.bias, targets)


def step(module, loss, hidden: Tensor, targets: Tensor, clock=time.perf_counter) -> float:
    """Seconds of one loss and its gradients."""
    hidden.grad = None
    module.zero_grad(set_to_none=True)
    begun = clock()
    loss(module, hidden, targets).backward()
    return clock() - begun


def data(rows: int, vocab: int, width: int, precision: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    hidden, targets = torch.randn(rows, width), torch.randint(vocab, (rows,))
    return hidden.to(getattr(torch, precision)).requires_grad_(), targets


def times(
    rows: int, vocab: int, width: int, precision: str, threads: int, rounds: int, only: list[str]
) -> dict[str, list[float]]:
    """Seconds of every contender in every round."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    hidden, targets = data(rows, vocab, width, precision)
    asked = fitting(rows, vocab, width, precision, only)
    found = {name: (make(vocab), loss) for name, (make, loss) in asked.items()}
    measured = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, (module, loss) in found.items():
            seconds = step(module, loss, hidden, targets, clock)
            if number:  # the first round warms up
                measured[name].append(seconds)
            module.zero_grad(set_to_none=True)
    return measured


def fitting(
    rows: int, vocab: int, width: int, precision: str, only: list[str]
) -> dict[str, Contender]:
    """Contenders asked for, without the one that would need more than 4 GB for its N x V x G numbers."""
    found = contenders(width, precision)
    if rows * vocab * 8 * 4 * 5 > 4 << 30:
        found.pop(NAIVE, None)
    return {n: f for n, f in found.items() if n == BASE or any(word in n for word in only)}


def peak_resident() -> float:
    """MB, by Linux's own account (`ru_maxrss` would count the parent process as well)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak(rows: int, vocab: int, width: int, precision: str, name: str) -> float:
    """MB by which the peak of this process rises in one step, less the gradients it leaves."""
    torch.set_num_threads(1)
    make, loss = contenders(width, precision)[name]
    step(make(16), loss, *data(8, 16, width, precision))
    module, (hidden, targets) = make(vocab), data(rows, vocab, width, precision)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak_resident()
    step(module, loss, hidden, targets)
    rise = peak_resident() - before
    grads = [p.grad for p in (*module.parameters(), hidden) if p.grad is not None]
    return rise - sum(grad.nbytes for grad in grads) / 2**20


def show_times(
    rows: int, vocab: int, width: int, precision: str, threads: int, rounds: int, only: list[str]
) -> None:
    measured = times(rows, vocab, width, precision, threads, rounds, only)
    base = measured[BASE]
    short = ", bfloat16" if precision == "bfloat16" else ""
    print(f"\n### D = {width}, V = {vocab}{short}, {threads} thread{'s' if threads > 1 else ''}\n")
    print("| output layer | ms | times nn.Linear + cross_entropy (quartiles) |\n|---|--:|--:|")
    for name, seconds in measured.items():
        ratios = [one / other for one, other in zip(seconds, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {1e3 * statistics.median(seconds):.0f} | {middle:.2f} ({low:.2f}-{high:.2f}) |"
        )


def show_memory(rows: int, vocab: int, width: int, precision: str, only: list[str]) -> None:
    print(
        f"\n### D = {width}, V = {vocab}, memory beyond the gradients\n\n| output layer | MB |\n|---|--:|"
    )
    for name in fitting(rows, vocab, width, precision, only):
        command = [sys.executable, __file__, "--rows", str(rows), "--vocab", str(vocab)]
        command += ["--width", str(width), "--precision", precision]
        output = subprocess.run(
            [*command, "--peak-of", name], capture_output=True, text=True, check=True
        ).stdout
        print(f"| {name} | {float(output):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 32768, 131072])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", nargs="+", default=[""], help="words in the names of contenders")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        print(peak(given.rows, given.vocab[0], given.width, given.precision, given.peak_of))
        return
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {native.path_taken()}"
    )
    for vocab in given.vocab:
        if given.memory:
            show_memory(given.rows, vocab, given.width, given.precision, given.only)
        for threads in given.threads:
            show_times(
                given.rows,
                vocab,
                given.width,
                given.precision,
                threads,
                given.rounds,
                given.only,
            )


if __name__ == "__main__":
    main()
