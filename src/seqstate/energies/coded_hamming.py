"""Coded multi-vector Hamming: a word is G codes, one of C vectors a group, scored by look-up.

logit_v = bias_v + sum_g T_g(h)[code_g(v)], T_g(h)[c] = tau_g sigmoid(a_g <h_g, c_gc> + b_g), or <h_g, c_gc>
in the `inner` form. All T are computed first (G C short products), then a word costs G look-ups and V x G
bytes instead of V x D floats. Equal to `multi_hamming` over the decoded vectors. Rank at most G (C - 1) + 1.

How the codes are found:
`straight_through`  every word keeps a vector of D numbers while training and is scored as its nearest
                    codes; the gradient reaches the vector as if it had not been rounded (van den Oord
                    et al. 2017, https://arxiv.org/abs/1711.00937) and the codes as they are.
`soft`              a word is the mean of the codes of each group, weighed by softmax over
                    -G |w_g - c|^2 / temperature; `anneal` divides the temperature over a training.
`fixed`             codes are data (`codes`, uint8): from `from_dense`, `from_multi_hamming` or `freeze`.
Source: the essay (catsmile.info/3002, 2022) with product quantisation, Jegou, Douze & Schmid 2011.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import EnergyHead, Head
from seqstate.core.schedule import Scheduled, geometric
from seqstate.energies import _code_fitting as fitting
from seqstate.energies import _quantise as quantise
from seqstate.energies._features import check_groups, feature_sum
from seqstate.native import tiles
from seqstate.native.coded import pack, worth

FORMS = ("sigmoid", "inner")
LEARN = ("straight_through", "soft", "fixed")
WARM = 0.25  # temperature of soft codes at the start


class CodedHamming(Head, Scheduled):
    """groups: G (must divide the width). codes: C a group, at most 256. form: sigmoid or inner.

    learn: straight_through, soft or fixed. project: a linear map D x D before the groups, the identity at
    the start. tau: start of the learnt scale of the sigmoid form; a starts at 4 / tau, as an inner product.
    anneal: how many times lower the temperature is at the end of a training (1: not scheduled).
    """

    codes: Tensor  # uint8 [V, G], if fixed
    temperature: Tensor  # if soft

    def __init__(
        self,
        *,
        width: int = 128,
        vocab_size: int,
        groups: int = 8,
        codes: int = 16,
        form: str = "sigmoid",
        learn: str = "straight_through",
        project: bool = False,
        tau: float = 4.0,
        anneal: float = 1.0,
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        if form not in FORMS or learn not in LEARN:
            raise ValueError(
                f"form={form!r}, learn={learn!r}; forms are {', '.join(FORMS)}, codes are learnt by "
                f"{', '.join(LEARN)}"
            )
        if not 1 <= codes <= 256:
            raise ValueError(f"codes={codes}, but a code is one byte: use 1 to 256")
        if anneal <= 0 or (anneal != 1 and learn != "soft"):
            raise ValueError(
                f"anneal={anneal} with learn={learn!r}; it is above 0, and only 'soft' has a temperature"
            )
        self.width, self.vocab_size, self.anneal = width, vocab_size, anneal
        self.groups, self.codes_per_group, self.form, self.learn = groups, codes, form, learn
        std = 1 / math.sqrt(width)
        self.books = nn.Parameter(std * torch.randn(groups, codes, width // groups))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if form == "sigmoid":
            self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
            self.log_a = nn.Parameter(torch.full((groups,), math.log(4 / tau)))
            self.b = nn.Parameter(torch.zeros(groups))
        if learn == "fixed":
            drawn = torch.randint(codes, (vocab_size, groups), dtype=torch.uint8)
            self.register_buffer("codes", drawn)
            self._packed: tuple[tuple[int, int], Tensor | None] | None = None
        else:
            self.weight = nn.Parameter(std * torch.randn(vocab_size, width))
        if learn == "soft":
            self.register_buffer("temperature", torch.tensor(WARM))
        self.project = nn.Linear(width, width) if project else None
        if self.project is not None:
            nn.init.eye_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def schedule(self, share: float) -> None:
        if self.anneal != 1:
            self.temperature.fill_(geometric(WARM, WARM / self.anneal, share))

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        if self.learn == "fixed":
            tables = self.tables(hidden)
            if tables.requires_grad:
                return tiles.coded_logits(tables, self.codes, self.bias)
            return native.coded_logits(tables, self.codes, self.bias, self._packed_codes())
        rows = self._projected(hidden)
        rows = rows.reshape(-1, self.width)
        return (self._dense(rows, self._words()) + self.bias).unflatten(0, hidden.shape[:-1])

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        if self.learn != "fixed":
            return super().score(hidden, words)
        places = self.codes[words].long().unsqueeze(-1)  # *B C G 1
        tables = self.tables(hidden).unsqueeze(-3).expand(*words.shape, -1, -1)
        return tables.gather(-1, places).squeeze(-1).sum(-1) + self.bias[words]

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        looked_up = self.learn == "fixed" and worth(self.groups, self.codes_per_group)
        if looked_up and native.usable(hidden, self.bias, self.books):
            return native.cross_entropy_coded(self.tables(hidden), self.codes, self.bias, targets)
        rows, words = self._projected(hidden), self._words()
        if self.form == "inner":
            return native.cross_entropy_inner(rows, words, self.bias, targets)
        return native.cross_entropy_multi_hamming(rows, words, *self._scalars(), self.bias, targets)

    def tables(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B G C"]:
        """T_g(h)[c]: what every code of every group adds to a word's logit."""
        split = self._projected(hidden).unflatten(-1, (self.groups, -1))
        match = torch.einsum("...gk,gck->...gc", split, self.books)
        if self.form == "inner":
            return match
        tau, a, b = (scalar.unsqueeze(-1) for scalar in self._scalars())
        return tau * torch.sigmoid(a * match + b)

    def word_codes(self) -> Int[Tensor, "V G"]:
        """The codes of all words: the fixed ones, or the nearest ones now."""
        if self.learn == "fixed":
            return self.codes.long()
        with torch.no_grad():
            parts = zip(self.weight.chunk(self.groups, -1), self.books, strict=True)
            return torch.stack([quantise.nearest(part, book) for part, book in parts], -1)

    def freeze(self) -> CodedHamming:
        """A copy that keeps the present codes and forgets the words' vectors: V x G bytes."""
        frozen = CodedHamming(
            width=self.width,
            vocab_size=self.vocab_size,
            groups=self.groups,
            codes=self.codes_per_group,
            form=self.form,
            learn="fixed",
            project=self.project is not None,
        ).to(self.books)
        kept = {k: v for k, v in self.state_dict().items() if k not in ("weight", "temperature")}
        frozen.load_state_dict({**kept, "codes": self.word_codes().to(torch.uint8)})
        return frozen

    def rank_bound(self) -> int | None:
        coded = self.groups * (self.codes_per_group - 1) + 1
        if self.form == "inner":
            return min(coded, self.width + 1)
        return None if self.learn == "soft" else coded  # a mixture is no longer one of C vectors

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        with torch.no_grad():
            self.bias.copy_(log_unigram)

    def table(self) -> nn.Parameter | None:
        return None if self.learn == "fixed" else self.weight

    @classmethod
    def from_dense(
        cls,
        head: nn.Linear | EnergyHead,
        hidden: Float[Tensor, "N D"],
        counts: Float[Tensor, " V"] | Int[Tensor, " V"],
        *,
        groups: int,
        codes: int,
        form: str = "inner",
        sharpness: float = 0.2,
        rotations: int = 10,
        rounds: int = 20,
        seed: int = 0,
    ) -> CodedHamming:
        """Fixed codes for a trained inner-product head (`nn.Linear`, or ours under `inner`).

        Words are whitened by the states' covariance, rotated and quantised by weighted k-means.

        hidden: states as they occur, a few times D of them; counts: how often each word does. In the
        sigmoid form a_g is set so that agreements, sized s, stay near the middle, a_g = sharpness / s: the
        logits then differ from the inner form's by less than sharpness^2 of their spread.
        Raises ValueError if `head` is not an inner product with a bias.
        """
        weight, bias = fitting.linear_parts(head, hidden)
        check_groups(weight.shape[1], groups)
        found = fitting.of_products(
            weight,
            bias,
            hidden,
            counts,
            groups=groups,
            codes=codes,
            rotations=rotations,
            rounds=rounds,
            seed=seed,
        )
        options = {"groups": groups, "codes": codes, "form": form, "learn": "fixed"}
        coded = cls(width=weight.shape[1], vocab_size=len(weight), project=True, **options)
        coded = coded.to(weight)
        with torch.no_grad():
            coded.project.weight.copy_(found.project)
            coded.project.bias.copy_(found.offset)
            coded.books.copy_(found.books)
            coded.codes.copy_(found.codes)
            coded.bias.copy_(found.bias)
            if form == "sigmoid":
                coded._sharpen(coded.project(hidden.to(weight)), sharpness)
        return coded

    @classmethod
    def from_multi_hamming(
        cls,
        head: EnergyHead,
        hidden: Float[Tensor, "N D"],
        counts: Float[Tensor, " V"] | Int[Tensor, " V"],
        *,
        codes: int,
        rounds: int = 20,
        seed: int = 0,
    ) -> CodedHamming:
        """Fixed codes for a head trained under `multi_hamming`: its groups, each whitened by itself.

        Raises ValueError for a head under another energy.
        """
        scalars = fitting.multi_hamming_parts(head, hidden)
        found = fitting.of_features(
            head.weight,
            hidden,
            counts,
            groups=len(scalars["b"]),
            codes=codes,
            rounds=rounds,
            seed=seed,
        )
        options = {"groups": len(scalars["b"]), "codes": codes, "learn": "fixed"}
        coded = cls(width=head.width, vocab_size=head.vocab_size, **options).to(head.weight)
        with torch.no_grad():
            coded.load_state_dict(scalars, strict=False)
            coded.books.copy_(found[0])
            coded.codes.copy_(found[1])
            coded.bias.copy_(torch.zeros(()) if head.bias is None else head.bias)
            # what the codes miss of a word on the average over states, its bias makes good
            coded.bias.add_(fitting.mean_gap(head, coded, hidden.to(head.weight)))
        return coded

    def _scalars(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.log_tau.exp(), self.log_a.exp(), self.b

    def _packed_codes(self) -> Tensor | None:
        """The fixed codes as the kernel reads them, packed anew when they have changed."""
        version = 0 if self.codes.is_inference() else self.codes._version
        seen = version, self.codes.data_ptr()
        if self._packed is None or self._packed[0] != seen:
            self._packed = seen, pack(self.codes)
        return self._packed[1]

    def _projected(self, hidden: Tensor) -> Tensor:
        return hidden if self.project is None else self.project(hidden)

    def _words(self) -> Float[Tensor, "V D"]:
        """Every word as its codes spell it; a vector still learnt passes its gradient through."""
        if self.learn == "soft":
            return self._mixed()
        decoded = quantise.decode(self.books, self.word_codes())
        return decoded if self.learn == "fixed" else decoded + (self.weight - self.weight.detach())

    def _mixed(self) -> Float[Tensor, "V D"]:
        """Every word as the mean of the codes, the nearer the heavier."""
        parts = zip(self.weight.chunk(self.groups, -1), self.books, strict=True)
        cold = self.groups / self.temperature
        # the words' own lengths are the same for all codes, so they cancel
        nearness = [(w @ c.T - c.square().sum(-1) / 2, c) for w, c in parts]
        return torch.cat([(2 * cold * near).softmax(-1) @ c for near, c in nearness], -1)

    def _dense(self, rows: Tensor, words: Tensor) -> Tensor:
        if self.form == "inner":
            return rows @ words.T

        def match(rows_g, words_g, tau, a, b):
            return tau * torch.sigmoid(a * (rows_g @ words_g.T) + b)

        return feature_sum(match, self.groups, rows, words, *self._scalars())

    def _sharpen(self, rows: Tensor, sharpness: float) -> None:
        """Set a so that the agreements of these states with all words have the size `sharpness`."""
        split = rows.unflatten(-1, (self.groups, -1))
        for g in range(self.groups):
            agreement = split[:, g].to(self.books) @ self.books[g][self.codes[:, g].long()].T
            a = sharpness / agreement.std().clamp_min(1e-12)
            self.log_a[g], self.log_tau[g] = a.log(), (4 / a).log()
