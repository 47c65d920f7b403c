"""A language model from its two axes: embedding -> StateModel -> Head (an energy over words)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core import registry
from seqstate.core.energy import Energy, Head
from seqstate.core.instrument import HasHead, HasStates
from seqstate.core.model import LanguageModel, Marks, ReadsSource, StateModel, last_real
from seqstate.core.spec import Spec, parse
from seqstate.core.state import State


class HasEmbedding(ABC):
    """Capability: tokens become vectors by a table, and vectors may be read in their place."""

    embedding: nn.Embedding

    @abstractmethod
    def hidden_of(
        self,
        embedded: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D2"], State]:
        """The vector the head sees after each of these rows of `embedding`, and the state.

        Vectors bear no marks (core.model.Marks): no document opens and no source ends among them.
        """


class NeuralLM(LanguageModel, HasHead, HasStates, HasEmbedding):
    """Embedding, a state model, and a head that scores words against the hidden vector.

    state, energy: parts already built. head width != state width puts a linear map between them.
    tie: the embedding shares the head's word table (needs equal widths; heads without a table refuse).
    dropout: on the embedded tokens and on the hidden vectors (Srivastava et al. 2014).
    boundary, separator: the tokens that open a document and that end its source (None: nothing does), for
    states that read a source apart.
    """

    def __init__(
        self,
        state: StateModel,
        head: Head,
        *,
        tie: bool = True,
        dropout: float = 0.0,
        boundary: int = 0,
        separator: int | None = None,
    ) -> None:
        super().__init__()
        self.boundary, self.separator = boundary, separator
        self.vocab_size = head.vocab_size
        self.states, self.head = state, head
        self.embedding = nn.Embedding(head.vocab_size, state.width)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(state.width))
        self.project = (
            nn.Identity()
            if head.width == state.width
            else nn.Linear(state.width, head.width, bias=False)
        )
        self.dropout = nn.Dropout(dropout)
        # unit variance per number, whatever the width: the shared table has norm about 1 a word
        self.scale = math.sqrt(state.width)
        if tie:
            self._tie()

    def _tie(self) -> None:
        table = self.head.table()
        if table is None:
            raise ValueError(
                "this energy has no word table to tie the embedding to; untie (tie=False)"
            )
        if table.shape != self.embedding.weight.shape:
            raise ValueError(
                f"tied embeddings need equal widths, but words have {table.shape[1]} numbers and the "
                f"state has {self.embedding.weight.shape[1]}; untie (tie=False) or drop the head width"
            )
        self.embedding.weight = table

    def init_state(self, batch_size: int) -> State:
        return self.states.init_state(batch_size)

    def inputs(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors the state model reads."""
        return self._scaled(self.embedding(tokens))

    def _scaled(self, embedded: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.dropout(embedded * self.scale)

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """The vector the head sees after each token, and the state."""
        if not isinstance(self.states, ReadsSource):
            return self.hidden_of(self.embedding(tokens), state, lengths)
        x = self._scaled(self.embedding(tokens))
        return self._seen(self.states(x, state, lengths, self._marks(tokens)))

    def _marks(self, tokens: Int[Tensor, "B T"]) -> Marks:
        none = torch.zeros_like(tokens, dtype=torch.bool)
        turns = none if self.separator is None else tokens == self.separator
        return Marks(tokens == self.boundary, turns)

    def hidden_of(
        self,
        embedded: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D2"], State]:
        return self._seen(self.states(self._scaled(embedded), state, lengths))

    def _seen(self, read: tuple[Float[Tensor, "B T D"], State]) -> tuple[Tensor, State]:
        hidden, state = read
        return self.project(self.dropout(hidden)), state

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        hidden, state = self.hidden(tokens, state, lengths)
        return self.head(hidden), state

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        hidden, state = self.hidden(tokens, state, lengths)
        return self.head(last_real(hidden, lengths)), state

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        hidden, state = self.hidden(tokens, state)
        return self.head.nll(hidden.flatten(0, 1), targets.flatten()).view_as(targets), state


def build_head(energy: str | Spec, *, width: int, vocab_size: int) -> Head:
    """The output layer a spec names: a pairwise energy over a word table, or a head in its own right."""
    spec = parse(energy)
    if issubclass(registry.find("energies", spec.name), Energy):
        return registry.build("energies", spec, width=width).over(vocab_size)
    return registry.build("energies", spec, width=width, vocab_size=vocab_size)


def build_model(
    state: str | Spec,
    energy: str | Spec | None = None,
    *,
    vocab_size: int,
    tie: bool = True,
    dropout: float = 0.0,
    head_width: int | None = None,
    boundary: int = 0,
    separator: int | None = None,
    ends: tuple[int, ...] = (),
) -> LanguageModel:
    """A language model from specs: `build_model("lstm(width=256)", "multi_hamming(groups=16)", ...)`.

    boundary: the token that opens a document, for states that ask for it (grammars, encoder and decoder).
    separator: the token between the source and the target of a pair; None: the text is not pairs.
    ends: tokens that close a sentence, for grammars whose spec names none.
    A state that is a distribution already (`ngram`) takes no energy. An energy is needed otherwise
    (None: `inner`). Raises ValueError for unknown parts and options and for what the parts refuse.
    """
    spec = parse(state)
    part = registry.find("states", spec.name)
    energy = energy_for(spec, None if energy is None else str(energy))
    if energy is None:
        given: dict[str, Any] = {"vocab_size": vocab_size}
        if "boundary" in registry.options(part):
            given["boundary"] = boundary
        if asks_for_ends(spec):
            given["ends"] = ends
        return registry.build("states", spec, **given)
    body = registry.build("states", spec)
    head = build_head(energy, width=head_width or body.width, vocab_size=vocab_size)
    tokens = {"boundary": boundary, "separator": separator}
    return NeuralLM(body, head, tie=tie, dropout=dropout, **tokens)


def asks_for_ends(state: str | Spec) -> bool:
    """Whether a state wants to know which tokens close a sentence, and its spec does not say."""
    spec = parse(state)
    known = registry.options(registry.find("states", spec.name))
    return "ends" in known and "ends" not in spec.options


def energy_for(state: str | Spec, energy: str | None) -> str | None:
    """The energy a state is scored by: `inner` if none is given; None where the state needs none.

    Raises ValueError if one is asked of a state that is a distribution over words already.
    """
    spec = parse(state)
    if not issubclass(registry.find("states", spec.name), LanguageModel):
        return energy or "inner"
    if energy is not None:
        raise ValueError(
            f"{spec.name} gives a distribution over words itself and takes no energy, "
            f"but {energy!r} was given"
        )
    return None
