"""Which constructions the laws run over: every file of every folder, plus the options listed here.

A new part is tested the day its file appears, with its defaults at width 16. Options worth a law of their
own are added below, as specs.
"""

from __future__ import annotations

import torch
from torch import nn

from seqstate.core import registry
from seqstate.core.energy import Energy
from seqstate.core.model import LanguageModel, StateModel
from seqstate.core.spec import parse
from seqstate.model import build_model

WIDTH, VOCAB, BATCH, TIME = 16, 11, 3, 7

STATE_OPTIONS = [
    "rnn(layers=2)",
    "lstm(layers=2)",
    "gru(layers=2)",
    "awd_lstm(layers=2, residual=True)",
    "min_gru(layers=1, convolution=1)",
    "hamming_rnn(layers=2, groups=4, compare='inner', gates=2)",
    "hamming_rnn(groups=4, compare='distance', temperature=0.0, convolution=1)",
    "hamming_rnn(layers=2, groups=8, compare='read', temperature=0.5)",
    "hamming_rnn(groups=2, compare='none', gates=1)",
    "attention(layers=2, window=3)",
    "attention(layers=2, window=0, qk_norm=False)",
    'attention(layers=2, window=4, positions="alibi", heads=2)',
    'attention(layers=1, window=5, positions="learned")',
    "grouped_attention(layers=2, kv_heads=2, window=3)",
    'hard_attention(layers=2, mode="sample(draws=2)", window=4)',
    'hard_attention(layers=2, mode="top_k(k=3)", energy="multi_hamming(groups=2)")',
    'hard_attention(layers=2, mode="sparsemax", positions="alibi", heads=2)',
    'hard_attention(layers=2, mode="entmax", heads=2)',
    'attention(layers=2, energy="multi_hamming(groups=2)", positions="none")',
    "inducing(layers=1, slots=3, heads=2, convolution=1)",
    "gated_slots(layers=1, slots=3, heads=2, convolution=1)",
    'latent(layers=1, slots=3, heads=2, gradient="unrolled")',
    "relay(layers=2, chunk=3)",
    "relay(layers=1, chunk=1, heads=2, convolution=1)",
    "seq2seq(layers=2, attention='none')",
    "seq2seq(layers=2, attention='multi_hamming(groups=2)', window=3)",
    "pcfg(max_length=3)",
    "pcfg(ends=(5, 7), max_length=4)",
    "table_pcfg(nonterminals=3, preterminals=4, ends=(5,))",
    "low_rank_pcfg(nonterminals=5, preterminals=7, rank=3, max_length=4)",
    "simple_pcfg(nonterminals=5, preterminals=7, ends=(5,), max_length=4)",
    "hmm(states=5, width=8)",
    "ngram(order=2)",
    "ngram(order=10, prune=(0, 0, 1))",
    "unbounded_ngram(longest=3, heldout=0)",
    "cache(window=4, match=0)",
    "cache(window=9, match=2, decay=0.9)",
    "cache(window=9, match=1, reset=True)",
]
ENERGY_OPTIONS = [
    "multi_hamming(groups=4, tau=2.0, a=3.0)",
    "multi_hamming(groups=16)",
    "multi_hamming(activation='clamped')",
    "multi_hamming(activation='rational')",
    "multi_hamming(groups=4, anneal=4.0, penalty=0.3)",
    "hamming(distance='exponential')",
    "hamming(distance='clipped')",
    "hamming(distance='squashed', tau=4.0)",
    "soft_bits(form='both')",
    "soft_bits(form='residual', bits=7)",
    "soft_bits(anneal=4.0, penalty=0.3)",
    "soft_minimum(temperature=0.1)",
    "soft_minimum(anneal=8.0)",
    "coded_hamming(learn='soft', codes=4, form='inner')",
    "coded_hamming(learn='fixed', groups=4, codes=5, project=True)",
    "coded_hamming(form='inner', groups=4, codes=3)",
]
TASK_OPTIONS = [
    "mqar(filler=False, power=1.0)",
    "khop(hops=3, mixed=True)",
    "brackets(kinds=2, depth=3, opening=0.7)",
    "tree(depth=1, arity=2)",
    "tree(depth=4, branching=0.0)",
]


def state_specs() -> list[str]:
    """Every state that exposes hidden vectors."""
    listed = [*registry.names("states"), *STATE_OPTIONS]
    return [spec for spec in listed if issubclass(_class("states", spec), StateModel)]


def distribution_specs() -> list[str]:
    """Every state that is a language model by itself (n-gram, PCFG, ...)."""
    listed = [*registry.names("states"), *STATE_OPTIONS]
    return [spec for spec in listed if issubclass(_class("states", spec), LanguageModel)]


def energy_specs(*, pairwise_only: bool = False) -> list[str]:
    """Every energy; only those that score pairs if asked."""
    listed = [*registry.names("energies"), *ENERGY_OPTIONS]
    if pairwise_only:
        return [spec for spec in listed if issubclass(_class("energies", spec), Energy)]
    return listed


def model_specs() -> list[tuple[str, str | None]]:
    """Every rung as a language model: states under `inner`, energies over `lstm`, and distributions."""
    states = [(spec, "inner") for spec in state_specs()]
    energies = [("lstm", spec) for spec in energy_specs()]
    return [*states, *energies, *[(spec, None) for spec in distribution_specs()]]


def build_state(spec: str) -> StateModel:
    return awake(registry.build("states", spec, width=WIDTH))


def build_language_model(state: str, energy: str | None, vocab_size: int = VOCAB) -> LanguageModel:
    """An awake model; a counted one has counted a short random text."""
    if energy is None:
        model = build_model(state, vocab_size=vocab_size)
        if hasattr(model, "count"):
            tokens = torch.randint(vocab_size, (200,), generator=torch.Generator().manual_seed(1))
            model.count(tokens.numpy(), boundary=0)
        return awake(model)
    sized = parse(state).replace(width=WIDTH)
    # token 1 parts source from target, for states that tell them apart
    return awake(build_model(sized, energy, vocab_size=vocab_size, tie=False, separator=1))


def awake(module: nn.Module, scale: float = 0.5) -> nn.Module:
    """Fill every parameter with noise: zero biases and symmetric starts hide bugs. Evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.add_(scale * noise)
    return module.eval()


def _class(kind: str, spec: str) -> type:
    return registry.find(kind, parse(spec).name)
