"""Hidden Markov model: the past is a belief over Z hidden classes, the bridge from table to vector.

A hidden class z_t emits the word and hands over to z_{t+1}; the exact distribution of the next word is
P(w | past) = sum_z belief(z) P(w | z). Reading a word is Bayes' rule followed by one step of the chain:

    belief'(z') = sum_z belief(z) P(w | z) P(z' | z) / P(w | past)

which is the forward algorithm, rescaled at every step so that nothing underflows. The log-probability matrix
of its distributions is not limited by Z (a mixture is taken before the logarithm), but what it remembers is:
Z - 1 numbers. Rabiner 1989, "A tutorial on hidden Markov models"; trained here by gradient, like any rung.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.model import IGNORE, LanguageModel, last_real
from seqstate.core.state import State


class HMM(LanguageModel):
    """states: hidden classes Z. spread: standard deviation of the random logits it starts from."""

    def __init__(self, *, vocab_size: int, states: int = 64, spread: float = 1.0) -> None:
        super().__init__()
        if states < 2:
            raise ValueError(f"states={states}, but a hidden Markov model needs 2 classes or more")
        self.vocab_size, self.states = vocab_size, states
        self.first = nn.Parameter(torch.zeros(states))
        # equal rows would stay equal for ever: the random start is what tells the classes apart
        self.transition = nn.Parameter(spread * torch.randn(states, states))
        self.emission = nn.Parameter(spread * torch.randn(states, vocab_size))

    def init_state(self, batch_size: int) -> State:
        """The distribution of the hidden class that will emit the first word, [B, Z]."""
        return self.first.softmax(0).expand(batch_size, -1)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        emission = self.emission.log_softmax(-1)
        beliefs = self._read(tokens, state, emission)
        return _logits(beliefs[:, 1:], emission), last_real(beliefs[:, 1:], lengths)

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        emission = self.emission.log_softmax(-1)
        after = last_real(self._read(tokens, state, emission)[:, 1:], lengths)
        return _logits(after, emission), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        """As LanguageModel.nll, looking up the targets' columns only: B x T x Z, never B x T x V."""
        emission = self.emission.log_softmax(-1)
        beliefs = self._read(tokens, state, emission)
        asked = targets != IGNORE
        columns = emission.t()[targets.where(asked, 0)]
        log_belief = beliefs[:, 1:].clamp_min(torch.finfo(beliefs.dtype).tiny).log()
        loss = -torch.logsumexp(columns + log_belief, -1)
        return loss * asked, beliefs[:, -1]

    def _read(
        self, tokens: Int[Tensor, "B T"], state: State | None, emission: Float[Tensor, "Z V"]
    ) -> Float[Tensor, "B T_plus_1 Z"]:
        """The belief before the first token and after each."""
        belief = self.init_state(tokens.shape[0]) if state is None else state
        transition = self.transition.softmax(-1)
        logs = emission.t()[tokens]  # B T Z
        likelihoods = (logs - logs.amax(-1, keepdim=True).detach()).exp()
        beliefs = [belief]
        for likelihood in likelihoods.unbind(1):
            joint = belief * likelihood
            belief = (joint / joint.sum(-1, keepdim=True)) @ transition
            beliefs.append(belief)
        return torch.stack(beliefs, 1)


def _logits(belief: Float[Tensor, "*B Z"], emission: Float[Tensor, "Z V"]) -> Float[Tensor, "*B V"]:
    return (belief @ emission.exp()).clamp_min(torch.finfo(belief.dtype).tiny).log()
