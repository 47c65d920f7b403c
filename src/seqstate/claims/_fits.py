"""Direct fits: context vectors and a head, nothing else, against a table of conditional distributions.

Not a claim (its name starts with an underscore). All energies get the same count of numbers: the widest D
whose context vectors, word table, biases and scalars together exceed the inner product's by 1 % at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.model import count_parameters
from seqstate.core.record import Reading, RunConfig
from seqstate.errors import Diverged
from seqstate.model import build_head
from seqstate.optimise import learning_rate
from seqstate.tasks.high_rank import HighRank

FREQUENT = 512  # contexts and words of a real table are drawn among so many
COUNTED = 1e-2  # of the largest singular value: below it a direction of the log-probabilities is not counted
SLACK = 1.01  # scalars (a scale or a threshold a feature) may exceed the count by so much


def random_table(size: int, seed: int) -> tuple[Float[Tensor, "C V"], Float[Tensor, " C"]]:
    """Distributions of full rank (tasks.high_rank), each context as likely."""
    task = HighRank(symbols=size, table=seed)
    return task.log_matrix.exp().float(), torch.full((size,), 1 / size)


def bigram_table(
    ids: np.ndarray, vocab_size: int, size: int, seed: int
) -> tuple[Float[Tensor, "C V"], Float[Tensor, " C"]]:
    """What follows `size` frequent words of a text among `size` others; the unigram is added as one count."""
    ids = np.asarray(ids).astype(np.int64)
    unigram = np.bincount(ids, minlength=vocab_size)
    frequent = np.argsort(-unigram, kind="stable")[:FREQUENT]
    if len(frequent) < size:
        raise ValueError(f"the text has {len(frequent)} different tokens; a table wants {size}")
    draw = np.random.default_rng(seed)
    contexts, words = (draw.choice(frequent, size, replace=False) for _ in range(2))
    place = np.full((2, vocab_size), -1)
    place[0, contexts], place[1, words] = np.arange(size), np.arange(size)
    row, column = place[0, ids[:-1]], place[1, ids[1:]]
    both = (row >= 0) & (column >= 0)
    counts = np.zeros((size, size))
    np.add.at(counts, (row[both], column[both]), 1)
    weight = counts.sum(1) + 1
    backoff = unigram[words] / unigram[words].sum()
    table = (counts + backoff) / weight[:, None]
    return torch.from_numpy(table).float(), torch.from_numpy(weight / weight.sum()).float()


def at_equal_numbers(energy: str, contexts: int, words: int, width: int) -> int:
    """The largest width whose numbers exceed the inner product's at `width` by 1 % at most.

    Raises ValueError if none will do.
    """
    allowed = SLACK * numbers("inner", contexts, words, width)
    refusal = "even width 1 is too many numbers"
    for narrower in range(width + 1, 0, -1):
        try:
            if numbers(energy, contexts, words, narrower) <= allowed:
                return narrower
        except ValueError as error:
            refusal = str(error)
    raise ValueError(f"{energy} has no width of {allowed} numbers or fewer: {refusal}")


def numbers(energy: str, contexts: int, words: int, width: int) -> int:
    with torch.device("meta"):
        return (
            count_parameters(build_head(energy, width=width, vocab_size=words)) + contexts * width
        )


def fit_table(
    table: Float[Tensor, "C V"],
    weight: Float[Tensor, " C"],
    energy: str,
    *,
    width: int,
    lr: float,
    steps: int,
    seed: int,
    tell: Callable[[float], None] | None = None,
) -> list[Reading]:
    """Fit and measure: KL to the table (nats a token, contexts weighted), and the rank that was used.

    Raises Diverged.
    """
    torch.manual_seed(seed)
    head = build_head(energy, width=width, vocab_size=table.shape[1])
    hidden = nn.Parameter(torch.randn(table.shape[0], width))
    head.start_from((weight @ table).log())
    trained = [hidden, *head.parameters()]
    optimiser = torch.optim.Adam(trained, lr=lr, fused=True)
    schedule = RunConfig(state="", energy=energy, corpus="", lr=lr, min_lr=0.01)
    entropy = float(weight @ torch.special.entr(table.double()).sum(-1).float())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate(schedule, step / steps)
        loss = -(weight @ (table * head(hidden).log_softmax(-1)).sum(-1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if tell and step % 100 == 99:
            tell(step / steps)
    with torch.no_grad():
        logits = head(hidden).double().log_softmax(-1)
        cross = float(-(weight.double() @ (table * logits).sum(-1)))
    if not math.isfinite(cross):
        raise Diverged(f"{energy} at learning rate {lr}: the loss is no longer a finite number")
    size = numbers(energy, *table.shape, width)
    return [
        Reading("kl", cross - entropy, "nat/token", table.shape[0]),
        Reading("rank", used_rank(logits), "1"),
        Reading("numbers", size, "1"),
        Reading("width", width, "1"),
    ]


def used_rank(logits: Float[Tensor, "C V"]) -> int:
    """Singular values of the centred log-probabilities above a hundredth of the largest."""
    spectrum = torch.linalg.svdvals(logits - logits.mean(-1, keepdim=True))
    return int((spectrum > COUNTED * spectrum.max()).sum())
