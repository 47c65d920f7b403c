"""Hidden Markov model: the past is a belief over Z hidden classes, the bridge from table to vector.

A hidden class z_t emits the word and hands over to z_{t+1}; the exact distribution of the next word is
P(w | past) = sum_z belief(z) P(w | z). Reading a word is Bayes' rule followed by one step of the chain:

    belief'(z') = sum_z belief(z) P(w | z) P(z' | z) / P(w | past)

which is the forward algorithm, rescaled at every step so that nothing underflows. The log-probability matrix
of its distributions is not limited by Z (a mixture is taken before the logarithm), but what it remembers is:
Z - 1 numbers. Rabiner 1989, "A tutorial on hidden Markov models". Trained here by gradient, so the tables
come from class vectors through small networks, which learn far faster than free numbers (Chiu & Rush 2020,
"Scaling hidden Markov language models").
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import IGNORE, LanguageModel, last_real
from seqstate.core.state import State
from seqstate.states._grammar.networks import Residual, vectors


class HMM(LanguageModel):
    """states: hidden classes Z. width: of the vectors their probabilities are computed from."""

    def __init__(self, *, vocab_size: int, states: int = 64, width: int = 128) -> None:
        super().__init__()
        if states < 2:
            raise ValueError(f"states={states}, but a hidden Markov model needs 2 classes or more")
        self.vocab_size, self.states = vocab_size, states
        self.first = nn.Parameter(torch.zeros(states))
        # equal vectors would stay equal for ever: the random start is what tells the classes apart
        self.classes = vectors(states, width)
        self.to_classes = nn.Sequential(Residual(width), nn.Linear(width, states))
        self.to_words = nn.Sequential(Residual(width), nn.Linear(width, vocab_size))

    def tables(self) -> tuple[Float[Tensor, " Z"], Float[Tensor, "Z Z"], Float[Tensor, "Z V"]]:
        """P(first class), P(next class | class), and log P(word | class)."""
        transition = self.to_classes(self.classes).softmax(-1)
        return self.first.softmax(0), transition, self.to_words(self.classes).log_softmax(-1)

    def init_state(self, batch_size: int) -> State:
        """The distribution of the hidden class that will emit the first word, [B, Z]."""
        return self.first.softmax(0).expand(batch_size, -1)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        beliefs, emission = self._read(tokens, state)
        return _logits(beliefs, emission), last_real(beliefs, lengths)

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        beliefs, emission = self._read(tokens, state)
        after = last_real(beliefs, lengths)
        return _logits(after, emission), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        """As LanguageModel.nll, looking up the targets' columns only: B x T x Z, never B x T x V."""
        beliefs, emission = self._read(tokens, state)
        asked = targets != IGNORE
        columns = emission.t()[targets.where(asked, 0)]
        loss = -torch.logsumexp(columns + _log(beliefs), -1)
        return loss * asked, beliefs[:, -1]

    def _read(
        self, tokens: Int[Tensor, "B T"], state: State | None
    ) -> tuple[Float[Tensor, "B T Z"], Float[Tensor, "Z V"]]:
        """The belief after each token, and log P(word | class)."""
        beliefs = []
        with torch.autocast(tokens.device.type, enabled=False):  # products of probabilities add up
            _, transition, emission = self.tables()
            belief = self.init_state(tokens.shape[0]) if state is None else state
            for log in emission.t()[tokens].unbind(1):  # B Z
                belief = (_log(belief) + log).softmax(-1) @ transition
                beliefs.append(belief)
        return torch.stack(beliefs, 1), emission


def _logits(belief: Float[Tensor, "*B Z"], emission: Float[Tensor, "Z V"]) -> Float[Tensor, "*B V"]:
    with torch.autocast(belief.device.type, enabled=False):
        return _log(belief @ emission.exp())


def _log(belief: Tensor) -> Tensor:
    return belief.clamp_min(torch.finfo(belief.dtype).tiny).log()
