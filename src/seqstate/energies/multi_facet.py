"""Multi-facet softmax: a mixture whose first softmax has a state for each part of the vocabulary.

p(v) = sum_k pi_k softmax_v(<f_k, w_v> + bias_v), where the first softmax scores word v with the facet
f_{1, v mod J} of its part of the vocabulary (J parts) and the others, K - 1 of them, with one facet for all.
Facets and weights are linear in [h, gelu(M h)] and start close to h itself. Left out of the authors' form:
inputs from earlier positions and lower layers (a head here sees one hidden vector).
Source: Chang & McCallum 2022, "Softmax bottleneck makes language models unable to represent multi-mode word
distributions", https://aclanthology.org/2022.acl-long.554 (there K = 3, J = 4).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate import native
from seqstate.core.energy import tiled_nll
from seqstate.core.model import IGNORE
from seqstate.energies._words import WordHead, linear

NOISE = 0.02  # by which facets differ at the start


class MultiFacet(WordHead):
    """softmaxes: K that are mixed. parts: J of the vocabulary, by word id modulo J, in the first one."""

    def __init__(
        self, *, width: int = 128, vocab_size: int, softmaxes: int = 3, parts: int = 4
    ) -> None:
        super().__init__(width, vocab_size)
        if softmaxes < 1 or parts < 1:
            raise ValueError(f"softmaxes={softmaxes}, parts={parts}: both must be at least 1")
        self.softmaxes, self.parts = softmaxes, parts
        self.mix = linear(width, width)  # M
        self.prior = linear(2 * width, softmaxes, bias=True)
        self.facets = nn.Parameter(torch.empty(parts + softmaxes - 1, 2 * width, width))
        nn.init.normal_(self.facets, std=NOISE)
        with torch.no_grad():
            self.facets[:, :width].add_(torch.eye(width))

    def mixture(
        self, hidden: Float[Tensor, "*B D"]
    ) -> tuple[Float[Tensor, "*B K"], Float[Tensor, "*B F D"]]:
        """Logarithms of the weights pi, and all facets: J of the first softmax, then one of each other."""
        block = torch.cat([hidden, F.gelu(self.mix(hidden))], -1)
        facets = torch.einsum("...e,fed->...fd", block, self.facets)
        return self.prior(block).log_softmax(-1), facets

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits that are log-probabilities already."""
        log_pi, facets = self.mixture(hidden)
        total = (
            self._parted(facets[..., : self.parts, :].flatten(-2)).log_softmax(-1) + log_pi[..., :1]
        )
        for k in range(1, self.softmaxes):
            logits = F.linear(facets[..., self.parts + k - 1, :], self.weight, self.bias)
            total = torch.logaddexp(total, logits.log_softmax(-1) + log_pi[..., k : k + 1])
        return total

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        log_pi, facets = self.mixture(hidden)
        first, rest = facets[:, : self.parts].flatten(1), facets[:, self.parts :]
        each = [tiled_nll(self._parted, first, targets, self.vocab_size).unsqueeze(-1)]
        if self.softmaxes > 1:
            wanted = targets.repeat_interleave(self.softmaxes - 1)
            plain = native.cross_entropy_inner(rest.flatten(0, 1), self.weight, self.bias, wanted)
            each.append(plain.view(-1, self.softmaxes - 1))
        nll = -torch.logsumexp(log_pi - torch.cat(each, -1), -1)
        return nll.masked_fill(targets == IGNORE, 0.0)

    def rank_bound(self) -> int | None:
        """One softmax over J parts: every part adds its own facet, linear in 2 D numbers."""
        if self.softmaxes > 1:
            return None
        return min(self.parts * self.width, 2 * self.width) + 1

    def _parted(self, facets: Float[Tensor, "*B JD"]) -> Float[Tensor, "*B V"]:
        """Logits where word v is scored by facet v mod J (the J facets are given end to end)."""
        spare = -self.vocab_size % self.parts
        words = F.pad(self.weight, (0, 0, 0, spare)).unflatten(0, (-1, self.parts))
        own = facets.unflatten(-1, (self.parts, -1))
        logits = torch.einsum("...jd,mjd->...mj", own, words).flatten(-2)
        return logits[..., : self.vocab_size] + self.bias
