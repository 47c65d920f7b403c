"""Contract of an Instrument: a model and a batch in, typed readings out.

Most instruments look at one place. `HeadInstrument` sees the output layer and the hidden vectors it is
given (so it also serves a bare layer: see seqstate.bottleneck); `StateInstrument` sees the state model and
the vectors it reads. Each says what it needs as a capability, here or in core.model: `missing`.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, Head
from seqstate.core.model import IGNORE, LanguageModel, StateModel
from seqstate.core.record import Reading
from seqstate.core.state import State
from seqstate.core.task import Batch

AFFINE_TOLERANCE = 1e-10  # of the largest logit, in float64


class HasHead(ABC):
    """Capability: words are scored by a head that sees one hidden vector a position."""

    head: Head

    @abstractmethod
    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """The vector the head sees after each token, and the state."""


class HasStates(ABC):
    """Capability: the past is carried by a state model that reads one vector a token."""

    states: StateModel

    @abstractmethod
    def inputs(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors the state model reads."""


class Instrument(ABC):
    """Measures a model on a batch. Constructed with keywords only; leaves the model as it found it."""

    @abstractmethod
    def missing(self, model: nn.Module) -> type | None:
        """The capability (or contract) that this instrument needs and the model lacks; None if it has all."""

    @abstractmethod
    def measure(self, model: nn.Module, batch: Batch) -> list[Reading]:
        """The readings; the model is measured in evaluation mode, without gradient to its parameters."""

    def applies_to(self, model: nn.Module) -> bool:
        """Whether the model offers what this instrument needs."""
        return self.missing(model) is None


class ReadsLogits(ABC):
    """Capability of an instrument: logits are enough, so models without hidden vectors can be measured."""

    @abstractmethod
    def of_logits(self, logits: Float[Tensor, "R V"]) -> list[Reading]:
        """The readings of logits, or log-probabilities, one row a position."""


class HeadInstrument(Instrument):
    """An instrument of the output layer; `capability` is what the head, or the energy in it, must be."""

    capability: type = Head

    def missing(self, model: nn.Module) -> type | None:
        if isinstance(model, HasHead):
            return None if self.reads(model.head) else self.capability
        bare = isinstance(self, ReadsLogits) and isinstance(model, LanguageModel)
        return None if bare else HasHead

    def reads(self, head: Head) -> bool:
        """Whether the head offers what this instrument needs."""
        inner = head.energy if isinstance(head, EnergyHead) else head
        return isinstance(head, self.capability) or isinstance(inner, self.capability)

    def measure(self, model: nn.Module, batch: Batch) -> list[Reading]:
        asked = batch.targets != IGNORE
        with evaluating(model):
            if not isinstance(model, HasHead):
                assert isinstance(self, ReadsLogits)
                with torch.no_grad():
                    return self.of_logits(model(batch.tokens)[0][asked])
            with torch.no_grad():
                hidden, _ = model.hidden(batch.tokens)
            with exact(model.head) as head:
                return self.read(head, hidden[asked].double(), batch.targets[asked])

    @abstractmethod
    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        """The readings of a float64 head on float64 hidden vectors, one row a position.

        `targets`: the word that followed each; None if unknown.
        """


class StateInstrument(Instrument):
    """An instrument of the state model; `capability` is the class the state model must have."""

    capability: type

    def missing(self, model: nn.Module) -> type | None:
        offered = isinstance(model, HasStates) and isinstance(model.states, self.capability)
        return None if offered else self.capability

    def measure(self, model: nn.Module, batch: Batch) -> list[Reading]:
        assert isinstance(model, HasStates)
        with evaluating(model), torch.no_grad():
            return self.read(model.states, model.inputs(batch.tokens))

    @abstractmethod
    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        """The readings of a state model that has the capability, on the vectors it reads."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode again outside."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def exact(head: Head) -> Iterator[Head]:
    """A copy of the head that computes in float64 and learns nothing."""
    with evaluating(head):
        yield copy.deepcopy(head).double().requires_grad_(False)


def affine_form(
    head: Head, hidden: Float[Tensor, "R D"]
) -> tuple[Float[Tensor, "V D"], Float[Tensor, " V"]] | None:
    """(W, b) if the head's logits are W h + b, up to a constant a row; None if they are not.

    Read off the (float64) head itself, so that a declaration cannot be wrong: its centred logits at zero
    and at the unit vectors give b and W, which must then predict it at `hidden` and at random vectors a
    tenth, one and ten times as long, to AFFINE_TOLERANCE.
    """
    size = float(hidden.square().mean().sqrt().clamp(min=1e-6))
    with torch.no_grad():
        units = size * torch.eye(head.width, dtype=hidden.dtype, device=hidden.device)
        bias = centred(head(torch.zeros_like(units[:1])))[0]
        weight = (centred(head(units)) - bias).T / size
        noise = torch.randn(
            8, head.width, generator=torch.Generator().manual_seed(0), dtype=hidden.dtype
        ).to(hidden.device)
        probes = torch.cat([hidden[:64], *(size * times * noise for times in (0.1, 1.0, 10.0))])
        logits = head(probes)
        error = (centred(logits) - probes @ weight.T - bias).abs().max()
    if not bool(error <= AFFINE_TOLERANCE * logits.abs().max()):  # a NaN is not affine either
        return None
    return weight, bias


def centred(logits: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
    """Logits less their row mean: what a softmax keeps of them."""
    return logits - logits.mean(-1, keepdim=True)
