"""Mixture of softmaxes: p(v) = sum_k pi_k(h) softmax_v(<tanh(P_k h), w_v> + bias_v). Full rank.

The sum is taken over probabilities, outside the logarithm, so the matrix of log-probabilities is not
limited by D. The loss streams: component k needs only its own log-normaliser and the target's logit,
log p(t) = logsumexp_k(log pi_k + <h_k, w_t> + bias_t - log Z_k), and is exact (no constant is added inside
the logarithm, as the authors' code does). It costs K plain softmax losses.
Source: Yang, Dai, Salakhutdinov & Cohen 2018, https://arxiv.org/abs/1711.03953. Here the facets
tanh(P_k h + q_k) have a bias each.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.energies._words import WordHead, linear


class MoS(WordHead):
    """components: softmaxes K that are mixed; they share one word table and one bias."""

    def __init__(self, *, width: int = 128, vocab_size: int, components: int = 4) -> None:
        super().__init__(width, vocab_size)
        if components < 1:
            raise ValueError(f"components={components}, but a mixture needs at least 1")
        self.components = components
        self.prior = linear(width, components)
        self.latent = linear(width, components * width, bias=True)

    def mixture(
        self, hidden: Float[Tensor, "*B D"]
    ) -> tuple[Float[Tensor, "*B K"], Float[Tensor, "*B K D"]]:
        """Logarithms of the weights pi, and the hidden vector of each component."""
        facets = torch.tanh(self.latent(hidden)).unflatten(-1, (self.components, self.width))
        return self.prior(hidden).log_softmax(-1), facets

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits that are log-probabilities already."""
        log_pi, facets = self.mixture(hidden)
        total = None
        for log_weight, facet in zip(log_pi.unbind(-1), facets.unbind(-2), strict=True):
            logits = F.linear(facet, self.weight, self.bias)
            part = logits.log_softmax(-1) + log_weight.unsqueeze(-1)
            total = part if total is None else torch.logaddexp(total, part)
        return total

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        log_pi, facets = self.mixture(hidden)
        rows = facets.flatten(0, 1)  # R K rows of one plain softmax: the tiles never see R x V x K
        wanted = targets.repeat_interleave(self.components)
        each = native.cross_entropy_inner(rows, self.weight, self.bias, wanted)
        nll = -torch.logsumexp(log_pi - each.view_as(log_pi), -1)
        return nll.masked_fill(targets == IGNORE, 0.0)

    def rank_bound(self) -> int | None:
        return self.width + 1 if self.components == 1 else None
