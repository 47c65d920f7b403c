"""Binary code prediction: p(v) ~ product of the probabilities of its code bits, over words only.

Every word has a fixed code c_v: the binary digits of its frequency rank and, against errors, parities of
random halves of them (`redundancy` times as many bits in all). The state predicts each bit by itself. The
authors leave the product as it is, which gives mass to codes that no word has; here it is normalised over
the V words, and each word has a bias (log-unigram at the start), which makes it a proper distribution:
logit_v = <B h + d, c_v> + bias_v. A word costs its bits and one number; the rank is at most the bits + 1.
Source: Oda, Arthur, Neubig, Yoshino & Nakamura 2017, https://arxiv.org/abs/1704.06918 (convolutional
codes there, a random linear code here; their softmax for frequent words is left out).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Head
from seqstate.energies._words import linear


class BinaryCodes(Head):
    """redundancy: code bits per bit of the word's rank (1: the rank alone). seed: of the parities."""

    codes: Tensor  # bool [V, bits]

    def __init__(
        self, *, width: int = 128, vocab_size: int, redundancy: int = 4, seed: int = 0
    ) -> None:
        super().__init__()
        if redundancy < 1:
            raise ValueError(f"redundancy={redundancy}, but a code needs at least its own bits (1)")
        self.width, self.vocab_size = width, vocab_size
        by_rank = _codes(vocab_size, redundancy, seed)
        self.bits = by_rank.shape[1]
        self.register_buffer("codes", by_rank)
        self.ask = linear(width, self.bits, bias=True)
        nn.init.normal_(self.ask.weight, std=1 / math.sqrt(width * self.bits))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        z = self.ask(hidden)
        return z @ self.codes.to(z.dtype).T + self.bias

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        z = self.ask(hidden)
        return (self.codes[words].to(z.dtype) @ z.unsqueeze(-1)).squeeze(-1) + self.bias[words]

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        z = self.ask(hidden)
        return native.cross_entropy_inner(z, self.codes.to(z.dtype), self.bias, targets)

    def rank_bound(self) -> int | None:
        return min(self.width, self.bits) + 1

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        """Biases, and codes dealt out again by frequency: the commonest word gets rank 0."""
        with torch.no_grad():
            order = log_unigram.argsort(descending=True, stable=True)
            by_rank = self.codes[self._ranks().argsort()]
            self.codes[order] = by_rank
            self.bias.copy_(log_unigram)

    def table(self) -> nn.Parameter | None:
        return None

    def _ranks(self) -> Int[Tensor, " V"]:
        """The rank each code spells in its first digits."""
        places = torch.arange(_digits(self.vocab_size), device=self.codes.device)
        return (self.codes[:, : len(places)].long() << places).sum(-1)


def _digits(vocab_size: int) -> int:
    """Binary digits that tell all ranks apart."""
    return max(1, (vocab_size - 1).bit_length())


def _codes(vocab_size: int, redundancy: int, seed: int) -> Tensor:
    """The code of every rank: its digits, lowest first, then parities of random subsets of them."""
    digits = _digits(vocab_size)
    rank = (torch.arange(vocab_size).unsqueeze(-1) >> torch.arange(digits)) & 1
    generator = torch.Generator().manual_seed(seed)
    subsets = torch.randint(2, (digits, (redundancy - 1) * digits), generator=generator)
    return torch.cat([rank, (rank @ subsets) % 2], -1).bool()
