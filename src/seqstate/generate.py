"""Generation: read a prompt once, then one token after another, the state carried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import LanguageModel, device_of
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

    def draw(self, logits: Float[Tensor, "B V"], generator: torch.Generator) -> Int[Tensor, " B"]:
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial(self.probabilities(logits), 1, generator=generator).squeeze(-1)


def read_prompts(
    model: LanguageModel, prompts: Sequence[Sequence[int]]
) -> tuple[Float[Tensor, "B V"], State]:
    """Read prompts of any, also unequal, lengths >= 1: logits of what follows each, and the state."""
    device = device_of(model)
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
) -> Iterator[Int[Tensor, " B"]]:
    """Yield one token per row at a time, `tokens` times.

    The same model, prompts, sampling and seed give the same tokens. Prompts must not be empty: begin them
    with the token that opens a document.
    """
    was_training = model.training
    model.eval()
    try:
        device = device_of(model)
        generator = torch.Generator(device).manual_seed(seed)
        with torch.inference_mode():
            logits, state = read_prompts(model, prompts)
            for step in range(tokens):
                drawn = sampling.draw(logits, generator)
                yield drawn.cpu()
                if step + 1 < tokens:
                    logits, state = model.next_logits(drawn[:, None], state)
    finally:
        model.train(was_training)
