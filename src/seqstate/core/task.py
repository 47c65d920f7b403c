"""Contract of a Task: synthetic sequences whose best possible answer is known.

A task is asked through targets: `targets[b, t]` is the token wanted after reading `tokens[b, : t + 1]`,
IGNORE where nothing is asked. A language model trains and is scored on it as on text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE


@dataclass(frozen=True)
class Batch:
    """What is read and what is asked. tags: one integer a position (distance, depth, ...), for curves."""

    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    tags: dict[str, Int[Tensor, "B T"]] = field(default_factory=dict)


class Task(ABC):
    """A source of sequences with a known best answer. Constructed with keywords only.

    vocab_size: token ids are 0 ... vocab_size - 1.
    chance: accuracy over the asked positions of the best constant answer.
    entropy: nats an asked position costs the best possible reader, on average (0: answers are certain).
    """

    vocab_size: int
    chance: float
    entropy: float

    @abstractmethod
    def sample(self, size: int, seed: int) -> Batch:
        """`size` sequences of one length; the same size and seed give the same batch, bit for bit."""

    @abstractmethod
    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Log-probabilities of the best possible reader at every position (uniform where it knows nothing).

        It sees `tokens` only, and at position t only the first t + 1 of them.
        """


def certain(answers: Int[Tensor, "B T"], vocab_size: int) -> Float[Tensor, "B T V"]:
    """Log-probabilities of a reader that is sure of `answers`, and of nothing where they are IGNORE."""
    known = answers != IGNORE
    out = torch.full((*answers.shape, vocab_size), -torch.inf)
    out.scatter_(-1, answers.where(known, torch.zeros_like(answers)).unsqueeze(-1), 0.0)
    out[~known] = -torch.log(torch.tensor(float(vocab_size)))
    return out


def generator(seed: int) -> torch.Generator:
    """A task's own source of randomness: sampling neither reads nor moves the global one."""
    return torch.Generator().manual_seed(seed)
