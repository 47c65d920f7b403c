"""What a stack of mixers agrees on: its shape, what a token gives, and the contract of a mixer.

A mixer is what happens between a layer's queries, keys and values and what each token is given back:
slots, a relay or a solver. Attention's own stack keeps keys and values and is not one of these.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Equal for all layers. convolution: inputs a query, key or value sees, itself included."""

    width: int
    layers: int
    heads: int
    convolution: int
    dropout: float

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; "
                f"try heads={math.gcd(self.width, self.heads)}"
            )
        if self.convolution < 1:
            raise ValueError(
                f"convolution is {self.convolution}; wanted at least 1, the input alone"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Tokens(NamedTuple):
    """A layer's new tokens. The score of a pair is <query, key>; keys have a root mean square of 1."""

    query: Float[Tensor, "B T H K"]
    key: Float[Tensor, "B T H K"]
    value: Float[Tensor, "B T H K"]
    input: Float[Tensor, "B T D"]  # what the three were projected from
    real: Bool[Tensor, "B T"] | None  # False on padding; None: all are real


class Mixer(nn.Module, ABC):
    """Gives every token a mixture of the values before it, from a state of fixed size."""

    @abstractmethod
    def init_state(self, batch_size: int) -> dict[str, Tensor]:
        """The state before anything is read."""

    @abstractmethod
    def forward(
        self, tokens: Tokens, state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "B T H K"], dict[str, Tensor]]:
        """What each token is given, and the state."""


def at_least_one(name: str, number: int) -> int:
    """The number itself. Raises ValueError below 1."""
    if number < 1:
        raise ValueError(f"{name} is {number}; wanted at least 1")
    return number
