"""Cache: what was said lately is likely again, more so after words that were said lately too.

    p(w)  is proportional to  strength * unigram(w) + sum over the last `window` words h_j = w of weight_j
    weight_j = decay ** age_j * sharpness ** (how many words before h_j agree with the newest words)

The state is the recent words. Without `match`, the cache of Kuhn & De Mori 1990; with it a pointer on
contexts, the continuous cache of Grave, Joulin & Usunier 2017 with agreement in place of an inner product.
Documents are not kept apart, and what the last one said fades like the rest, unless `reset`: then a document
begins with nothing said but the boundary token that opens it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE, Counted, LanguageModel, last_real
from seqstate.core.state import State
from seqstate.states._kneser_ney import smooth
from seqstate.states._ngram_counts import closed_stream, count_ngrams

NOTHING = -1  # a place of the window where nothing was read yet
TILE = 1 << 22  # weights held at once


class Cache(LanguageModel, Counted):
    """Logits are natural log-probabilities; the unigram is uniform until `count` has read a text.

    strength: weight of the unigram, counted in words of no agreement and age 0. decay: what the weight of a
    word is multiplied by for every word read since. sharpness: what it is multiplied by for every agreeing
    word before it, up to `match` words. reset: forget where `boundary` opens a document.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        window: int = 1000,
        decay: float = 0.999,
        match: int = 4,
        sharpness: float = 8.0,
        strength: float = 500.0,
        reset: bool = False,
        boundary: int = 0,
    ) -> None:
        super().__init__()
        if vocab_size < 1 or window < 1 or match < 0:
            raise ValueError(
                f"found vocab_size={vocab_size}, window={window}, match={match}, "
                "wanted at least 1, 1 and 0"
            )
        if not (0 < decay <= 1 and sharpness > 0 and strength > 0):
            raise ValueError(
                f"found decay={decay}, sharpness={sharpness}, strength={strength}, "
                "wanted a decay above 0 and at most 1, the others above 0"
            )
        if not 0 <= boundary < vocab_size:
            raise ValueError(f"boundary {boundary} is no word of {vocab_size}")
        self.vocab_size, self.window, self.match = vocab_size, window, match
        self.reset, self.boundary = reset, boundary
        self.decay, self.sharpness, self.strength = decay, sharpness, strength
        uniform = torch.full((vocab_size,), -math.log(vocab_size), dtype=torch.float64)
        self.register_buffer("unigram", uniform)

    def count(self, tokens: Any, boundary: int) -> None:
        """Estimate the unigram (Kneser-Ney's discounts, interpolated with the uniform distribution)."""
        stream = closed_stream(tokens, boundary, self.vocab_size)
        counts = count_ngrams(stream, boundary, self.vocab_size, 1)
        self.unigram.copy_(torch.from_numpy(smooth(counts, boundary, (0.5, 1.0, 1.5)).unigram))

    def init_state(self, batch_size: int) -> State:
        shape = (batch_size, self.window + self.match)
        return torch.full(shape, NOTHING, dtype=torch.int32, device=self.unigram.device)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        recent, after = self._recent(tokens, state, lengths)
        parts = [self._distribution(part.flatten(0, 1)) for part in self._tiles(recent)]
        return _joined(parts, tokens), after

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        recent, after = self._recent(tokens, state, lengths)
        return self._distribution(last_real(recent, lengths)), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        recent, after = self._recent(tokens, state, None)
        asked = targets != IGNORE
        words = targets.long().where(asked, 0)
        parts = [
            -self._score(part.flatten(0, 1), target.flatten())
            for part, target in zip(self._tiles(recent), self._tiles(words, recent), strict=True)
        ]
        return _joined(parts, tokens).where(asked, 0).float(), after

    def _tiles(self, values: Tensor, recent: Tensor | None = None) -> tuple[Tensor, ...]:
        """Pieces of time small enough for all weights of a piece to be held at once."""
        rows, _, size = (values if recent is None else recent).shape
        return values.split(max(1, TILE // (rows * size)), dim=1)

    def _recent(
        self, tokens: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Int[Tensor, "B T S"], State]:
        """The newest words at each position (S = window + match of them, newest last), and the state."""
        before = self.init_state(tokens.shape[0]) if state is None else state
        joined = torch.cat([before, tokens.to(before.dtype)], 1)
        size = self.window + self.match
        windows = joined[:, 1:].unfold(1, size, 1)
        return windows, last_real(windows, lengths).clone()

    def _weights(
        self, recent: Int[Tensor, "Q S"]
    ) -> tuple[Int[Tensor, "Q W"], Float[Tensor, "Q W"]]:
        """The words of the window and how much each counts."""
        if self.reset:
            recent = recent.masked_fill(_closed(recent == self.boundary), NOTHING)
        words = recent[:, self.match :]
        age = torch.arange(self.window - 1, -1, -1, device=recent.device)
        weight = (self.decay**age).expand(words.shape) * (words != NOTHING)
        agrees = words != NOTHING
        for back in range(self.match):
            start = self.match - 1 - back
            newest = recent[:, -1 - back, None]
            agrees = agrees & (recent[:, start : start + self.window] == newest)
            agrees &= newest != NOTHING
            weight = weight * torch.where(agrees, self.sharpness, 1.0)
        return words.long().clamp(min=0), weight

    def _score(self, recent: Int[Tensor, "Q S"], target: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
        words, weight = self._weights(recent)
        said = (weight * (words == target[:, None])).sum(1)
        mass = said + self.strength * self.unigram[target].exp()
        return (mass / (weight.sum(1) + self.strength)).log()

    def _distribution(self, recent: Int[Tensor, "Q S"]) -> Float[Tensor, "Q V"]:
        words, weight = self._weights(recent)
        mass = (self.strength * self.unigram.exp()).float().repeat(len(recent), 1)
        mass.scatter_add_(1, words, weight.float())
        return (mass / (weight.sum(1, keepdim=True) + self.strength)).log()


def _closed(opens: Bool[Tensor, "Q S"]) -> Bool[Tensor, "Q S"]:
    """Whether a document opens behind each place."""
    behind = opens.flip(1).cumsum(1).flip(1) - opens.long()
    return behind > 0


def _joined(parts: list[Tensor], tokens: Int[Tensor, "B T"]) -> Tensor:
    """Results of pieces of time, one after another."""
    rows = tokens.shape[0]
    return torch.cat([part.unflatten(0, (rows, -1)) for part in parts], 1)
