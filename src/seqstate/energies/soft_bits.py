"""Soft bits: a word stores D numbers, read as G bits: E = -<z(h), 2 sigmoid(A w + c) - 1>.

A (G x D) and c are shared by all words and cost G D numbers in all; a loss over a large vocabulary reads the
words block by block, so their V x G bits are never stored. Three forms of what the state says about the bits:
`word`      z = B h, linear: only the words are squashed.
`both`      z_g = tau_g tanh(B h)_g: bits on both sides, the essay's "sigmoid each side, then L1" (codes
            of hard bits -1, 1 differ in (G - inner product) / 2 places).
`residual`  `word` plus alpha <h, w>, the plain inner product of what is stored.
With z linear in h the rank is at most D + 1 (and at most G + 1): what grows is what a word can say with few
numbers, hence `store`: words of S < D numbers under a state of D. Signs of the bits are ready-made codes.
Start: w std 0.06, A std 0.5 / (0.06 sqrt(S)), c std 1. Near: deep output embeddings, Pappas & Henderson
2019, https://arxiv.org/abs/1905.05513; the essay, catsmile.info/3002 (2022).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate import native
from seqstate.core.energy import HasBits, HasCodes, HasPenalty
from seqstate.core.schedule import Scheduled, geometric
from seqstate.energies._bits import uneven
from seqstate.energies._product import Product

FORMS = ("word", "both", "residual")
WORD_STD = 0.06


class SoftBits(Product, HasBits, HasCodes, HasPenalty, Scheduled):
    """bits: G. form: word, both or residual. store: numbers S a word keeps (0: as many as the width).

    tau (for `both`), alpha (for `residual`): start of the learnt scales. anneal: how many times sharper the
    words' bits are at the end of a training (1: not scheduled). penalty: weight of their imbalance and
    redundancy.
    """

    sharpness: Tensor  # if scheduled

    def __init__(
        self,
        *,
        width: int = 128,
        bits: int = 64,
        form: str = "word",
        store: int = 0,
        tau: float = 1.0,
        alpha: float = 1.0,
        anneal: float = 1.0,
        penalty: float = 0.0,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form={form!r}; there are {', '.join(FORMS)}")
        if form == "residual" and store not in (0, width):
            raise ValueError(
                f"form='residual' multiplies state and word, but the state has {width} numbers and the "
                f"word store={store}; use store=0 or another form"
            )
        if bits < 1 or store < 0:
            raise ValueError(
                f"bits={bits}, store={store}: bits must be positive, store not negative"
            )
        if anneal <= 0 or penalty < 0:
            raise ValueError(
                f"anneal={anneal}, penalty={penalty}: a sharpness is above 0, a penalty not below"
            )
        self.width, self.bits, self.form, self.store = width, bits, form, store or width
        self.anneal, self.penalty_weight = anneal, penalty
        self.read = nn.Linear(self.store, bits)  # A and c
        self.ask = nn.Linear(width, bits, bias=False)  # B
        nn.init.normal_(self.read.weight, std=0.5 / (WORD_STD * math.sqrt(self.store)))
        nn.init.normal_(self.read.bias)
        nn.init.normal_(self.ask.weight, std=1 / math.sqrt(3 * width))
        if form == "both":
            self.log_tau = nn.Parameter(torch.full((bits,), math.log(tau)))
        if form == "residual":
            self.alpha = nn.Parameter(torch.tensor(alpha))
        if anneal != 1:
            self.register_buffer("sharpness", torch.tensor(1.0))

    @property
    def key_width(self) -> int:
        return self.store

    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B P"]:
        z = self.ask(query)
        if self.form == "both":
            return self.log_tau.exp() * torch.tanh(z)
        return torch.cat([z, self.alpha * query], -1) if self.form == "residual" else z

    def key_side(self, keys: Float[Tensor, "*K C S"]) -> tuple[Float[Tensor, "*K C P"], None]:
        """Bits in -1..1, and in `residual` the word's own numbers too."""
        return self._read_by(keys, self.read.weight, self.read.bias), None

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V S"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        scalars = self.read.weight, self.read.bias
        return native.cross_entropy_computed(
            self.query_side(query), keys, scalars, bias, targets, read=self._read_by
        )

    def init_keys(self, keys: Float[Tensor, "C S"]) -> None:
        nn.init.normal_(keys, std=WORD_STD)

    def schedule(self, share: float) -> None:
        if self.anneal != 1:
            self.sharpness.fill_(geometric(1.0, self.anneal, share))

    def penalty(self, query: Float[Tensor, "N D"], keys: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
        return uneven(self.soft_bits(query, keys)["word"])

    def start_as_inner(self, sharpness: float) -> None:
        if self.form != "residual":
            raise ValueError(
                f"form={self.form!r} has no inner product to start as; replace a layer with form='residual'"
            )
        with torch.no_grad():  # the bits say nothing until their reading B has learnt
            self.ask.weight.zero_()
            self.alpha.fill_(1.0)

    def rank_bound(self) -> int | None:
        if self.form == "both":
            return self.bits + 1
        return 1 + (self.width if self.form == "residual" else min(self.width, self.bits))

    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C S"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        words = {"word": torch.sigmoid(self._sharp(self.read(keys)))}
        if self.form != "both":
            return words
        return {**words, "query": torch.sigmoid(2 * self.ask(query))}

    def query_code(
        self, query: Float[Tensor, "R D"]
    ) -> tuple[Bool[Tensor, "R G"], Float[Tensor, "R G"], Float[Tensor, " R"]]:
        # a bit of the other sign adds at most 0 to the logit where the right one adds up to |z|
        z = self.query_side(query)[..., : self.bits]
        return z > 0, z.abs(), -z.abs().sum(-1)

    def key_code(self, keys: Float[Tensor, "C S"]) -> Bool[Tensor, "C G"]:
        if self.form == "residual":
            raise ValueError(
                "form='residual' adds an inner product, which no code bounds; use 'word' or 'both'"
            )
        return self.read(keys) > 0

    def _read_by(self, keys: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
        half = self._sharp(0.5)  # 2 sigmoid(x) - 1 = tanh(x / 2)
        bits = torch.tanh(F.linear(keys, half * weight, half * offset))
        return torch.cat([bits, keys], -1) if self.form == "residual" else bits

    def _sharp(self, x):
        return x if self.anneal == 1 else self.sharpness * x
