"""Contracts of everything that reads a sequence: StateModel (hidden vectors) and LanguageModel (words).

Letters: B batch, T time, D hidden width, V vocabulary, C candidates, G groups, K group width (D = G K),
N layers, H heads, S slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from seqstate.core.state import State

IGNORE = -100  # a target that is not asked for; its negative log-likelihood is returned as 0


class StateModel(nn.Module, ABC):
    """Reads vectors one after another and exposes a hidden vector at each step.

    Constructed with keywords only; `width` is D, of the input and of the hidden vector alike.
    """

    width: int

    @abstractmethod
    def init_state(self, batch_size: int) -> State:
        """The state before anything is read; axis 0 of every leaf has size `batch_size`."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """Read T vectors and go on from `state` (None: from the start). Stepping is T = 1.

        Row b has `lengths[b]` real vectors (1 <= length <= T; None: all T), the rest is padding on the
        right: its hidden vectors mean nothing and the returned state has not read it.
        """


class LanguageModel(nn.Module, ABC):
    """Gives the distribution of the next token after every prefix."""

    vocab_size: int

    @abstractmethod
    def init_state(self, batch_size: int) -> State:
        """The state before anything is read."""

    @abstractmethod
    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits of the token that follows each of `tokens` (any additive constant), and the state.

        `lengths` as in StateModel.forward.
        """

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        """Negative log-likelihood of each target in nats (0 where it is IGNORE), and the state.

        This default goes through the logits; a model that can avoid storing B x T x V overrides it.
        """
        logits, after = self(tokens, state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORE
        )
        return loss.view_as(targets), after

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        """Logits after the last real token of each row only, and the state: reading a prompt.

        This default goes through all logits; a model that can avoid them overrides it.
        """
        logits, after = self(tokens, state, lengths)
        return last_real(logits, lengths), after


def last_real(
    values: Num[Tensor, "B T X"], lengths: Int[Tensor, " B"] | None
) -> Num[Tensor, "B X"]:
    """The values at the last real position of each row (see `lengths` in StateModel.forward)."""
    if lengths is None:
        return values[:, -1]
    return values[torch.arange(values.shape[0], device=values.device), lengths - 1]


class Counted(ABC):
    """Capability: a model estimated by counting the training text once, not by gradient."""

    @abstractmethod
    def count(self, tokens: Any, boundary: int) -> None:
        """Estimate from a 1-d integer array of token ids (numpy or memory map, any integer type).

        `boundary` is the id that opens each document; no context reaches back across it.
        """


class Parses(ABC):
    """Capability: a sentence is a sum over binary trees, of which the best can be told and some be drawn."""

    closing: Int[Tensor, " K"]  # tokens that close a sentence and are no words

    @abstractmethod
    def distribution(
        self, words: Int[Tensor, "B N"], lengths: Int[Tensor, " B"] | None = None
    ) -> Any:
        """The trees of sentences, no closing tokens among their words, named as torch-struct's SentCFG:
        `partition`, `argmax`, `sample(count, generator)`, `log_prob(trees)`; and `estimate(samples, ...)`.
        """


class LearnsTrees(ABC):
    """Capability: estimated by counting a treebank, where the text is one; its symbols are the treebank's."""

    decided: tuple[str, ...]  # the constructor's options that the treebank decides

    @classmethod
    @abstractmethod
    def from_trees(cls, trees: Any, *, vocab_size: int, boundary: int, **options: Any) -> Any:
        """The model of trees over word ids; options are the constructor's."""

    @abstractmethod
    def symbols(self) -> dict[str, tuple[str, ...]]:
        """The options that were decided."""


class Marks(NamedTuple):
    """Tokens with a meaning of their own. They are read like others, each as the first of what it begins."""

    opens: Bool[Tensor, "B T"]  # a document begins, with its source
    turns: Bool[Tensor, "B T"]  # the source is over, its target begins


class ReadsSource(ABC):
    """Capability: a document is a source and a target, read in different ways; marks say where they begin."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
        marks: Marks | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """As StateModel.forward; without marks nothing begins, and what was begun before goes on."""


class ReadsBothWays(ABC):
    """Capability: a whole text can be read at once, so that every place sees what is before and behind it."""

    @abstractmethod
    def both_ways(
        self, x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """The hidden vectors of texts read to their ends; `lengths` as in StateModel.forward."""


class HasGates(ABC):
    """Capability: the state is written through gates in [0, 1]."""

    @abstractmethod
    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T ..."]]:
        """The gate values at every step, by name."""


class HasGraph(ABC):
    """Capability: every position picks predecessors; the picks form a graph."""

    @abstractmethod
    def graph(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "N B H T T"]:
        """Edge weights per layer and head: row t sums to 1 over predecessors s <= t."""


class HasLengths(ABC):
    """Capability: queries and keys have lengths that can be measured (the essay's length control)."""

    @abstractmethod
    def lengths_of(self, x: Float[Tensor, "B T D"]) -> dict[str, Float[Tensor, "N B H T"]]:
        """Euclidean norms of `query` and `key` vectors, per layer and head."""


class Aggregates(NamedTuple):
    """What a layer's queries ask of its keys and values, and what they were given.

    The score of a pair is <query, key>, with any scale inside the query.
    """

    query: Float[Tensor, "N B H T K"]
    key: Float[Tensor, "N B H T K"]
    value: Float[Tensor, "N B H T K"]
    given: Float[Tensor, "N B H T K"]


class HasAggregates(ABC):
    """Capability: the aggregate of all pairs of queries and keys is approximated through fewer nodes."""

    @abstractmethod
    def aggregates(self, x: Float[Tensor, "B T D"]) -> Aggregates:
        """Per layer and head, as `forward` computes them when it reads x from the start."""


class HasConvergence(ABC):
    """Capability: latents are solved by iteration at run time."""

    tolerance: float  # of the residual

    @abstractmethod
    def convergence(self, x: Float[Tensor, "B T D"]) -> dict[str, Float[Tensor, "N B H T"]]:
        """`residual` (last step over length of the latent) and `iterations` of each latent."""


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first parameter or buffer lives (CPU if it has none)."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
