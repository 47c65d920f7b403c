"""Generation: read a prompt once, then one token after another, the state carried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core import registry
from seqstate.core.instrument import HasHead
from seqstate.core.model import LanguageModel, device_of, last_real
from seqstate.core.screen import Screen, Shortlist
from seqstate.core.state import State

CHUNK = 256  # prompt tokens read at once


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. temperature 0: the likeliest. The filters apply in this order.

    top_k: keep the k likeliest. top_p: keep the fewest that hold this probability (Holtzman et al. 2020).
    min_p: keep those at least this share as likely as the likeliest (Nguyen et al. 2024). 0 or 1: off.
    Raises ValueError for values out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(
                f"temperature {self.temperature} is below 0; 0 takes the likeliest token"
            )
        if self.top_k < 0:
            raise ValueError(f"top-k {self.top_k} is below 0; 0 keeps all tokens")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p {self.top_p} is not in (0, 1]; 1 keeps all tokens")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min-p {self.min_p} is not in [0, 1); 0 keeps all tokens")

    def probabilities(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """The distribution that is drawn from."""
        logits = logits.float()
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        logits = logits if self.temperature == 1 else logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(-1)
        if self.top_p < 1:
            ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
            # a token stays if the likelier ones do not yet hold top_p: the first always stays
            drop = (ordered.cumsum(-1) - ordered) >= self.top_p
            probabilities = probabilities.masked_fill(drop.scatter(-1, order, drop), 0.0)
        if self.min_p > 0:
            likeliest = probabilities.amax(-1, keepdim=True)
            probabilities = probabilities.masked_fill(probabilities < self.min_p * likeliest, 0.0)
        if self.top_p == 1 and self.min_p == 0:
            return probabilities
        return probabilities / probabilities.sum(-1, keepdim=True)

    def most(self) -> int:
        """How many words it may draw from. Raises ValueError if it is all of them."""
        if self.temperature == 0:
            return 1
        if self.top_k == 0:
            raise ValueError(
                "all words may be drawn, so none can be thrown away; give temperature 0 or a top-k"
            )
        return self.top_k

    def draw(self, logits: Float[Tensor, "B V"], generator: torch.Generator) -> Int[Tensor, " B"]:
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial(self.probabilities(logits), 1, generator=generator).squeeze(-1)


@runtime_checkable
class Reader(Protocol):
    """What generation asks of a model: what may follow the last real token of each row, and the state."""

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Any, State]: ...


class Screened:
    """A model whose words are screened: `next_logits` gives a Shortlist, with the k best in it.

    Raises ValueError for a model whose words no head scores.
    """

    def __init__(self, model: LanguageModel, screen: str, k: int) -> None:
        if not isinstance(model, HasHead):
            raise ValueError(
                "this model has no head that scores words by a hidden vector, so there is nothing to screen"
            )
        self.model, self.k = model, k
        self.screen: Screen = registry.build("screens", screen, head=model.head)

    def next_logits(self, tokens, state=None, lengths=None):
        hidden, after = self.model.hidden(tokens, state, lengths)
        return self.screen.shortlist(last_real(hidden, lengths), self.k), after


def read_prompts(
    model: Reader, prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Any, State]:
    """Read prompts of any, also unequal, lengths >= 1: logits of what follows each, and the state."""
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    tokens = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.as_tensor(prompt, device=device)
    common, state = int(lengths.min()) - 1, None
    for start in range(0, common, CHUNK):  # nothing but the state is wanted of the shared part
        piece = tokens[:, start : min(start + CHUNK, common)]
        _, state = model.next_logits(piece, state)
    if len(set(lengths.tolist())) == 1:
        return model.next_logits(tokens[:, common:], state)
    return model.next_logits(tokens[:, common:], state, lengths - common)


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
    sampling: Sampling = Sampling(),
    seed: int = 0,
    screen: str | None = None,
) -> Iterator[Int[Tensor, " B"]]:
    """Yield one token per row at a time, `tokens` times.

    The same model, prompts, sampling and seed give the same tokens. Prompts must not be empty: begin them
    with the token that opens a document.

    screen: which words are scored, such as "certified" (`screens/`). Under one that is exact, the tokens are
    the same with temperature 0, and drawn from the same distribution with `top_k`. Raises ValueError for a
    screen that the model's head, or the sampling, does not allow.
    """
    reader = model if screen is None else Screened(model, screen, sampling.most())
    was_training = model.training
    model.eval()
    try:
        device = device_of(model)
        generator = torch.Generator(device).manual_seed(seed)
        with torch.inference_mode():
            found, state = read_prompts(reader, prompts, device)
            for step in range(tokens):
                if isinstance(found, Shortlist):
                    place = sampling.draw(found.logits, generator)
                    drawn = found.words.gather(-1, place[:, None])[:, 0]
                else:
                    drawn = sampling.draw(found, generator)
                yield drawn.cpu()
                if step + 1 < tokens:
                    found, state = reader.next_logits(drawn[:, None], state)
    finally:
        model.train(was_training)
