"""Fusion: several trained generators mixed token by token into one normalised distribution.

    linear      p(w) = sum_i a_i p_i(w), the weights a_i sum to 1
    geometric   p(w) is proportional to prod_i p_i(w) ^ a_i, the exponents a_i are free

The weights are the same everywhere (`global`), or depend on how sure each member is of itself
(`confidence`), or come from a small network over what all members say and the newest word (`context`).
Linear and global is Jelinek & Mercer 1980; a gate is the mixture of experts of Jacobs et al. 1991; geometric
is the product of experts of Hinton 2002, and with free exponents the mixing of Mahoney's PAQ (2005).

Members are fixed. The state is theirs, side by side; the gate reads what they say now, so it carries none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import LanguageModel, last_real
from seqstate.core.state import State

WEIGHTS = ("global", "confidence", "context")
MIXES = ("linear", "geometric")
FEATURES = 3  # of a member, see `features`
HIDDEN, WORD = 16, 8  # units of the network of `context`, and numbers it knows a word by
FLOOR = -30.0  # least log-probability a geometric mix takes: 0 to the power 0 is no number
TILE = 1 << 24  # log-probabilities of all members held at once


@dataclass(frozen=True)
class FusionConfig:
    """What rebuilds a fusion from its members, and how all of them read (see trained.ModelConfig)."""

    members: int
    weights: str
    mix: str
    vocab_size: int
    context: int
    carry: bool
    corpus: str  # of the members, where they agree
    boundary: int

    @classmethod
    def of(cls, members: Sequence[Any], *, weights: str, mix: str) -> FusionConfig:
        """Of members' configurations: the shortest context, and no state carried unless all carry theirs."""
        corpora = {member.corpus for member in members}
        return cls(
            members=len(members),
            weights=weights,
            mix=mix,
            vocab_size=members[0].vocab_size,
            context=min(member.context for member in members),
            carry=all(member.carry for member in members),
            corpus=corpora.pop() if len(corpora) == 1 else "",
            boundary=members[0].boundary,
        )

    def build(self, members: Sequence[LanguageModel]) -> Fusion:
        """A fusion of these members, its weights not learnt yet."""
        return Fusion(members, weights=self.weights, mix=self.mix)


class Gate(nn.Module):
    """Scores of the members: M numbers, or linear in a member's own features, or a network over all of them.

    Features are standardised by `centre` and `spread`, which are measured where the weights are learnt.
    mean: of each member's weight there, for people to look at.
    """

    def __init__(self, members: int, weights: str, vocab_size: int) -> None:
        super().__init__()
        self.weights = weights
        self.score = nn.Parameter(torch.zeros(members))
        self.register_buffer("centre", torch.zeros(members, FEATURES))
        self.register_buffer("spread", torch.ones(members, FEATURES))
        self.register_buffer("mean", torch.full((members,), 1 / members))
        if weights == "confidence":
            self.slope = nn.Parameter(torch.zeros(members, FEATURES))
        if weights == "context":
            self.words = nn.Embedding(vocab_size, WORD)
            self.read = nn.Linear(members * FEATURES + WORD, HIDDEN)
            self.write = nn.Linear(HIDDEN, members, bias=False)
            nn.init.zeros_(self.write.weight)
            nn.init.zeros_(self.words.weight)  # a word the weights were not learnt on says nothing

    @torch.no_grad()
    def standardise(self, features: Float[Tensor, "N M F"]) -> None:
        """Measure centre and spread of the features."""
        self.centre.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp(min=1e-3))

    def forward(
        self, features: Float[Tensor, "*B M F"], words: Int[Tensor, "*B"]
    ) -> Float[Tensor, "*B M"]:
        scaled = (features - self.centre) / self.spread
        if self.weights == "confidence":
            return self.score + (scaled * self.slope).sum(-1)
        if self.weights == "context":
            seen = torch.cat([scaled.flatten(-2), self.words(words)], -1)
            return self.score + self.write(torch.tanh(self.read(seen)))
        return self.score.expand(features.shape[:-1])


class Fusion(LanguageModel):
    """members: models of one vocabulary. weights: global, confidence or context. mix: linear or geometric."""

    def __init__(
        self, members: Sequence[LanguageModel], *, weights: str = "context", mix: str = "linear"
    ) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"found {len(members)} models to fuse, wanted 2 or more")
        sizes = [member.vocab_size for member in members]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"found vocabularies of {' and '.join(map(str, sizes))} tokens; models are fused over "
                "one: train them with the same tokenizer (--tokenizer FILE)"
            )
        if weights not in WEIGHTS or mix not in MIXES:
            raise ValueError(
                f"found weights={weights!r}, mix={mix!r}; wanted weights {', '.join(WEIGHTS)} "
                f"and mix {' or '.join(MIXES)}"
            )
        self.vocab_size, self.mix = sizes[0], mix
        self.members = nn.ModuleList(members).requires_grad_(False)
        self.gate = Gate(len(members), weights, self.vocab_size)
        self.train(False)

    def train(self, mode: bool = True) -> Fusion:
        """Only the gate ever trains: members say the same in every mode."""
        super().train(mode)
        self.members.train(False)
        return self

    def init_state(self, batch_size: int) -> State:
        return tuple(member.init_state(batch_size) for member in self.members)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        said, after = self._ask("forward", tokens, state, lengths)
        return self.mixed(said, tokens), after

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        said, after = self._ask("next_logits", tokens, state, lengths)
        return self.mixed(said, last_real(tokens.unsqueeze(-1), lengths).squeeze(-1)), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        """Pieces of time, so that all members' distributions over a long text are never held at once."""
        size = max(1, TILE // (tokens.shape[0] * self.vocab_size * len(self.members)))
        parts = []
        for piece, wanted in zip(tokens.split(size, 1), targets.split(size, 1), strict=True):
            nats, state = super().nll(piece, wanted, state)
            parts.append(nats)
        return torch.cat(parts, 1), state

    def members_say(
        self, tokens: Int[Tensor, "B T"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T M V"], State]:
        """Log-probabilities of every member, and the state."""
        return self._ask("forward", tokens, state, None)

    def mixed(
        self, said: Float[Tensor, "*B M V"], words: Int[Tensor, "*B"]
    ) -> Float[Tensor, "*B V"]:
        """Logits of the mix of what the members say (log-probabilities) after each of `words`."""
        scores = self.gate(features(said), words)
        return (geometric if self.mix == "geometric" else linear)(scores, said)

    def _ask(self, method: str, tokens, state, lengths) -> tuple[Tensor, State]:
        before = self.init_state(tokens.shape[0]) if state is None else state
        answers = [
            getattr(member, method)(tokens, one, lengths)
            for member, one in zip(self.members, before, strict=True)
        ]
        with torch.no_grad():
            said = torch.stack([logits.float().log_softmax(-1) for logits, _ in answers], -2)
        return said, tuple(after for _, after in answers)


def linear(scores: Float[Tensor, "*B M"], said: Float[Tensor, "*B M V"]) -> Float[Tensor, "*B V"]:
    """Log of the average of the members' probabilities, weighted by softmax(scores)."""
    return (scores.log_softmax(-1).unsqueeze(-1) + said).logsumexp(-2)


def geometric(
    scores: Float[Tensor, "*B M"], said: Float[Tensor, "*B M V"]
) -> Float[Tensor, "*B V"]:
    """Log of the product of the members' probabilities to the power of their scores, not normalised."""
    return (scores.unsqueeze(-1) * said.clamp(min=FLOOR)).sum(-2)


def features(said: Float[Tensor, "*B M V"]) -> Float[Tensor, "*B M F"]:
    """What the gate sees of each member, in nats: its entropy, its highest log-probability, and its
    divergence from the members' plain average (how far it stands alone).
    """
    chances = said.exp()
    average = chances.mean(-2, keepdim=True)
    entropy = torch.special.entr(chances).sum(-1)
    away = -entropy - torch.special.xlogy(chances, average).sum(-1)
    return torch.stack([entropy, said.amax(-1), away], -1)
