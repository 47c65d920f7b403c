"""Inside and outside of a PCFG beside torch-struct's SentCFG, then tokens per second of the grammar rungs.

    python benchmarks/pcfg_speed.py [--rounds 3] [--batch 8] [--nonterminals 30] [--preterminals 60]

Sentences of 20 to 40 words, one rule table for all (torch-struct wants a copy a row: our row-wise form
runs beside it, too). Both sides compute log Z, then log Z and its gradient with respect to rules and words.
Rounds take turns, so that noise of the machine falls on all alike. One thread; time is CPU time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings

import torch
import torch_struct
from torch import Tensor

from seqstate.model import build_model
from seqstate.states._grammar.distribution import TreeDistribution

RUNGS = ("pcfg", "low_rank_pcfg", "simple_pcfg", "hmm")


def theirs(terms: Tensor, rules: Tensor, roots: Tensor, lengths: Tensor) -> Tensor:
    return torch_struct.SentCFG((terms, rules, roots), lengths=lengths).partition.squeeze(0)


def ours(terms: Tensor, rules: Tensor, roots: Tensor, lengths: Tensor) -> Tensor:
    return TreeDistribution.from_logs(terms, rules, roots, lengths).partition


def problem(options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random log-probabilities: words, one rule table, roots; and lengths spread from 20 to 40."""
    torch.manual_seed(0)
    a, p = options.nonterminals, options.preterminals
    lengths = torch.linspace(20, 40, options.batch).round().long()
    terms = torch.randn(options.batch, 40, p).log_softmax(-1) - 5
    rules = torch.randn(a, (a + p) ** 2).log_softmax(-1).view(a, a + p, a + p)
    return terms, rules, torch.randn(a).log_softmax(-1), lengths


def timed(compute, inputs: tuple, *, gradient: bool) -> tuple[float, Tensor]:
    terms, rules, roots, lengths = inputs
    terms, rules = (tensor.clone().requires_grad_(gradient) for tensor in (terms, rules))
    begun = time.process_time()
    with torch.set_grad_enabled(gradient):
        total = compute(terms, rules, roots, lengths)
        if gradient:
            torch.autograd.grad(total.sum(), (terms, rules))
    return time.process_time() - begun, total.detach()


def against_torch_struct(options: argparse.Namespace) -> None:
    terms, rules, roots, lengths = problem(options)
    batch = len(lengths)
    by_row = rules.expand(batch, -1, -1, -1).contiguous()
    rows = roots.expand(batch, -1).contiguous()
    contenders = {
        "torch-struct": (theirs, (terms, by_row, rows, lengths)),
        "seqstate, a table a row": (ours, (terms, by_row, rows, lengths)),
        "seqstate, one table": (ours, (terms, rules, roots, lengths)),
    }
    for gradient in (False, True):
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        found = {}
        for _ in range(options.rounds):
            for name, (compute, inputs) in contenders.items():
                spent, found[name] = timed(compute, inputs, gradient=gradient)
                seconds[name].append(spent)
        print(f"\nlog Z{' and its gradient' if gradient else ''}: CPU seconds a batch, median")
        for name, taken in seconds.items():
            ratios = [a / b for a, b in zip(seconds["torch-struct"], taken, strict=True)]
            error = ((found[name] - found["torch-struct"]) / found["torch-struct"]).abs().max()
            print(
                f"  {name:26} {statistics.median(taken):8.3f}   {statistics.median(ratios):6.1f}x"
                f" (paired; {min(ratios):.1f} to {max(ratios):.1f})   largest relative difference {error:.1e}"
            )


def rungs(options: argparse.Namespace) -> None:
    """Training steps on rows of sentences of about 20 words, and generation word by word."""
    vocabulary, rows, context = 5000, 16, 128
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, vocabulary, (rows, context + 1), generator=generator)
    tokens[torch.rand(tokens.shape, generator=generator) < 1 / 20] = 0
    print(
        f"\ntokens per CPU second: V = {vocabulary}, batches of {rows} x {context}, 5 % boundaries"
    )
    for spec in RUNGS:
        torch.manual_seed(0)
        model = build_model(spec, vocab_size=vocabulary)
        spent = []
        for _ in range(options.rounds):
            begun = time.process_time()
            model.nll(tokens[:, :-1], tokens[:, 1:])[0].mean().backward()
            spent.append(time.process_time() - begun)
        training = rows * context / statistics.median(spent)
        begun, steps, state = time.process_time(), 60, None
        with torch.no_grad():
            word = torch.zeros(1, 1, dtype=torch.long)
            for _ in range(steps):
                logits, state = model.next_logits(word, state)
                word = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        stepping = steps / (time.process_time() - begun)
        print(f"  {spec:16} training {training:9,.0f}   generating {stepping:6,.0f} (one row)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--nonterminals", type=int, default=30)
    parser.add_argument("--preterminals", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, torch-struct 0.5"
    )
    print(
        f"A = {options.nonterminals}, P = {options.preterminals}, {options.batch} sentences of 20 to 40"
    )
    against_torch_struct(options)
    rungs(options)


if __name__ == "__main__":
    main()
