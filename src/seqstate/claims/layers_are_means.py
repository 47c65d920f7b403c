"""Is what attention computes the mean over sampled graphs, and what is left at temperature 0?

The essay (E8): every layer is computed "by mean field", the expectation of an operator over a distribution
of graphs; at temperature 0, or with hard attention, "one sampled graph" is left. A model of 1, 2 or 3 layers
is trained as usual, then the same weights read held-out text in four ways: as they are (mean), by the
likeliest graph (map), by graphs drawn edge by edge from its own weights (sample), and with several draws
averaged inside each layer. For what a single layer's heads hand over, mean and expectation are one thing by
linearity; MLPs, norms and further layers are what may part them.

    nats_*            of mean, map, sample (one graph at a time, averaged over GRAPHS of them) and mixture
                      (the mean of what GRAPHS graphs predict)
    kl_mixture        KL(mixture of infinitely many graphs || mean), extrapolated from all and from halves
    kl_all, kl_half   the same of GRAPHS graphs and of half as many, which the finite number makes larger
    kl_sample         KL(one graph || mean), on average
    kl_draws_N        KL(N draws averaged inside each layer || mean)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.claims._language import begun, config_of, look, taught
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.model import LanguageModel, count_parameters
from seqstate.core.record import Reading
from seqstate.model import NeuralLM, build_model

LAYERS = (1, 2, 3)
OPTIONS = "heads=4, layers={}, width=64"
GRAPHS, DRAWS = 64, (4, 16)  # graphs averaged after the last layer; draws averaged inside each
ROWS, CONTEXT = 8, 256
APART = 16  # between the seeds of two graphs
NEAR, SHARE = 0.01, 0.01  # nats of KL; share of the nats
SEEDS = 2
EFFORTS = {"full": (400, SEEDS, GRAPHS), "small": (3, 1, 4)}  # steps, seeds, graphs


class LayersAreMeans(Claim):
    """See the file's docstring."""

    statement = (
        "What attention of several layers predicts is the expectation of what graphs drawn from its own "
        "weights predict."
    )
    criterion = (
        "On every text, with 1, 2 and 3 layers and in each of 2 seeds or more: KL(mean of the predictions of "
        "graphs || the model's own) is at most 0.01 nats a token, extrapolated to infinitely many graphs "
        "from 64 and from halves of 32, and the mean of 64 takes within 1 % of the model's nats. Characters, "
        "width 64, 400 steps of 16 x 128 tokens at learning rate 0.02; 8 x 256 held-out tokens."
    )
    texts = 1
    tokenizer = "char"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        steps, seeds, graphs = EFFORTS[effort]
        return [
            Trial(
                {
                    "corpus": corpus,
                    "state": f"attention({OPTIONS.format(layers)})",
                    "energy": "inner",
                    "layers": layers,
                    "graphs": graphs,
                    "steps": steps,
                    "lr": 0.02,
                    "seed": seed,
                },
                seconds=layers * (steps * 0.02 + graphs * 0.3),
            )
            for seed in range(seeds)
            for corpus in corpora
            for layers in LAYERS
        ]

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        corpus = corpora[trial.settings["corpus"]]
        config = config_of({**trial.settings, "eval_every": trial.settings["steps"]})
        trained = begun(config, corpus)
        outcome = taught(trained, config, corpus, folder, tell and (lambda share: tell(share / 2)))
        model = trained.model.eval()
        assert isinstance(model, NeuralLM)
        sharp = [
            r for r in look(model, corpus, ["graph"]) if r.name in ("graph_sharpness", "graph_hard")
        ]
        return [
            *readings_of(
                model, trial.settings["layers"], held_out(corpus), trial.settings["graphs"], tell
            ),
            *sharp,
            Reading("parameters", count_parameters(model), "1"),
            Reading("cpu_seconds", outcome.cpu_seconds, "s"),
        ]

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        usable = [one for one in records if one.readings and one["graphs"] == GRAPHS]
        texts = sorted({record["corpus"] for record in usable})
        rows = [_row(text, layers, usable) for text in texts for layers in LAYERS]
        if not texts or any(row["seeds"] < SEEDS for row in rows):
            return Verdict(None, f"too few records: wanted {SEEDS} seeds of every depth", rows)
        told = []
        for layers in LAYERS:
            some = [row for row in rows if row["layers"] == layers]
            kl, share = (max(row[name] for row in some) for name in ("kl_mixture", "apart"))
            told.append(
                f"{layers} layer{'s' * (layers > 1)}: KL up to {kl:.4f}, nats {share:.2%} apart"
            )
        sampled, likeliest = (
            [row[name] / row["mean"] - 1 for row in rows] for name in ("sample", "map")
        )
        told.append(
            f"one sampled graph takes {min(sampled):.0%} to {max(sampled):.0%} more nats, the likeliest "
            f"{min(likeliest):.0%} to {max(likeliest):.0%}"
        )
        near = all(row["kl_mixture"] <= NEAR and row["apart"] <= SHARE for row in rows)
        return Verdict(near, "; ".join(told), rows)


def held_out(corpus: Any) -> Int[Tensor, "B T_plus_1"]:
    """Windows spread over the held-out text, shorter ones if it is short."""
    size = min(CONTEXT, (len(corpus.valid) - 1) // ROWS)
    starts = np.linspace(0, len(corpus.valid) - size - 1, ROWS).astype(np.int64)
    ids = np.stack([np.asarray(corpus.valid[s : s + size + 1]).astype(np.int64) for s in starts])
    return torch.from_numpy(ids)


@torch.no_grad()
def readings_of(
    model: NeuralLM, layers: int, ids: Int[Tensor, "B T_plus_1"], graphs: int, tell: Any = None
) -> list[Reading]:
    """See the file's docstring. model: attention of so many layers, in evaluation."""
    tokens, targets = ids[:, :-1], ids[:, 1:]
    own = _log_probs(model, tokens)
    likeliest = _log_probs(hardened(model, layers, "map"), tokens)
    drawing = hardened(model, layers, "sample")
    halves = [torch.zeros_like(own, dtype=torch.float64) for _ in range(2)]
    nats, apart = torch.zeros(len(ids)), torch.zeros(len(ids))
    for graph in range(graphs):
        one = _log_probs(drawing, tokens, 1 + graph * len(ids))
        halves[graph % 2] += one.double().exp() * (2 / graphs)
        nats += _nats(one, targets) / graphs
        apart += _kl(one, own) / graphs
        if tell:
            tell(0.5 + 0.5 * graph / graphs)
    mixture = ((halves[0] + halves[1]) / 2).log()
    whole = _kl(mixture, own)
    half = (_kl(halves[0].log(), own) + _kl(halves[1].log(), own)) / 2
    found = {"nats_mean": _nats(own, targets), "nats_map": _nats(likeliest, targets)}
    found |= {"nats_sample": nats, "nats_mixture": _nats(mixture, targets)}
    # what a finite number of graphs adds falls as 1 / number
    found |= {"kl_mixture": 2 * whole - half, "kl_all": whole, "kl_half": half, "kl_sample": apart}
    for draws in DRAWS:
        several = _log_probs(hardened(model, layers, f"sample(draws={draws})"), tokens)
        found[f"kl_draws_{draws}"] = _kl(several, own)
    return [_reading(name, rows, tokens.numel()) for name, rows in found.items()]


def hardened(model: NeuralLM, layers: int, mode: str) -> LanguageModel:
    """The same weights, their graphs made hard."""
    state = f"hard_attention({OPTIONS.format(layers)}, mode={mode!r})"
    hard = build_model(state, "inner", vocab_size=model.vocab_size)
    hard.load_state_dict(model.state_dict())
    return hard.eval()


def _log_probs(
    model: LanguageModel, tokens: Int[Tensor, "B T"], seed: int = 0
) -> Float[Tensor, "B T V"]:
    """seed: of the first row's graph, where graphs are drawn."""
    state = model.init_state(len(tokens))
    if "seed" in state:
        # apart by more than the heads: seeds next to each other share the noise of neighbouring heads
        state = {**state, "seed": APART * (seed + torch.arange(len(tokens)))}
    return model(tokens, state)[0].log_softmax(-1)


def _nats(log_probs: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    return -log_probs.gather(-1, targets[..., None]).squeeze(-1).float().mean(-1)


def _kl(ours: Float[Tensor, "B T V"], theirs: Float[Tensor, "B T V"]) -> Float[Tensor, " B"]:
    """KL(ours || theirs) a token, by row."""
    return (ours.exp() * (ours - theirs)).sum(-1).float().mean(-1)


def _reading(name: str, rows: Float[Tensor, " B"], count: int) -> Reading:
    """The mean over rows; each row is one observation of the standard error."""
    stderr = float(rows.std() / len(rows) ** 0.5) if len(rows) > 1 else None
    return Reading(name, float(rows.mean()), "nat/token", count, stderr)


def _row(text: str, layers: int, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Means over the seeds of one depth; of what is judged, the worst seed."""
    some = [one for one in records if (one["corpus"], one["layers"]) == (text, layers)]
    row: dict[str, Any] = {"corpus": text, "layers": layers, "seeds": len(some)}
    if not some:
        return row
    kinds = ("mean", "map", "sample", "mixture")
    row |= {kind: float(np.mean([one.value(f"nats_{kind}") for one in some])) for kind in kinds}
    row["kl_mixture"] = max(one.value("kl_mixture") for one in some)
    row["apart"] = max(abs(one.value("nats_mixture") / one.value("nats_mean") - 1) for one in some)
    names = ("kl_sample", "kl_all", *(f"kl_draws_{draws}" for draws in DRAWS), "graph_sharpness")
    return row | {name: float(np.mean([one.value(name) for one in some])) for name in names}
