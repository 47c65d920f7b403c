"""Contracts of scoring: Energy (pairwise), Head (a whole vocabulary), EnergyHead (one from the other).

An `Energy` is a pairwise function with a handful of scalars. Given a word table it picks the next word
(`energy.over(vocab_size)` is an output layer); given keys it picks a predecessor in attention. A method that
scores words but is not pairwise (a mixture of softmaxes) is a `Head` directly. Both live in `energies/`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seqstate.core.model import IGNORE

TILE = 1 << 22  # logits held at once by the tiled loss (16 MB in float32)
PENALISED = 64  # rows of a batch on which an auxiliary loss is measured
START_ROWS = 16  # hidden vectors at a time on which a head that replaces another is compared
BLUNTEST = 2.0**-16  # sharpness below which float32 leaves nothing of a product


class Energy(nn.Module, ABC):
    """Pairwise score of candidates against a query; lower is likelier. Built with `width=D` and options."""

    width: int

    @property
    def key_width(self) -> int:
        """Numbers of one key: D, unless the energy reads more from a key than it stores."""
        return self.width

    @abstractmethod
    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        """Energy of every key for every query, like `torch.cdist`: leading axes broadcast."""

    def rank_bound(self) -> int | None:
        """Largest rank of a matrix of log-probabilities (bias included); None if not limited by D."""
        return None

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        """Fill a fresh word table in place so that the scores start sane."""
        nn.init.normal_(keys, std=1 / math.sqrt(self.key_width))

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        """Negative log-likelihood in nats of each row's target under softmax(bias - energy); 0 at IGNORE.

        Rows are taken in tiles and recomputed in the backward pass, so R x V is never stored.
        An energy with a fused kernel overrides this.
        """
        return tiled_nll(
            lambda rows: _logits(self, rows, keys, bias), query, targets, keys.shape[0]
        )

    def over(self, vocab_size: int, *, bias: bool = True) -> EnergyHead:
        """An output layer: this energy over a table of `vocab_size` word vectors."""
        return EnergyHead(self, vocab_size, bias=bias)

    def start_as_inner(self, sharpness: float) -> None:
        """Set the scalars so that E(0, w) - E(h, w) is <h, w>, up to an error that goes with `sharpness`.

        Raises ValueError if no scalars do.
        """
        raise ValueError(
            f"{type(self).__name__} cannot imitate an inner product, so it cannot replace nn.Linear; "
            "take Inner, ScaledInner, MultiHamming, ProductOfExperts, RBFInner, SoftMinimum or "
            "SoftBits(form='residual')"
        )

    @classmethod
    def replacing(
        cls,
        layer: nn.Linear,
        *,
        hidden: Float[Tensor, "*B D"] | None = None,
        error: float = 0.01,
        **options: Any,
    ) -> EnergyHead:
        """An output layer under this energy that starts with the logits of `layer`, to be put in its place.

        The word table is the layer's own parameter, not a copy: where it is tied to an input embedding it
        stays tied, and both learn (untie with `copy.deepcopy(layer)`). There is a bias, also if the layer
        has none.

        hidden: vectors as the layer sees them (by default standard normal ones, as after a layer norm with
        gain 1). error: most that any logit may be off on them, in nats; the sharpest start that keeps this is
        taken, and what was measured is the head's `start_error`. options: of the energy.
        Raises ValueError for an energy that cannot, and for an error that cannot be kept.
        """
        energy = cls(width=layer.in_features, **options)
        energy.to(layer.weight.device, torch.promote_types(layer.weight.dtype, torch.float32))
        head = energy.over(layer.out_features)
        head.weight = cast(nn.Parameter, layer.weight)
        return _started(head, layer, hidden, error)


class HasProduct(ABC):
    """Capability: E = c(h) - <query_side(h), right(w)> - own(w), an inner product of what each side becomes.

    c(h) is the same for all keys, so a softmax does not see it.
    """

    @abstractmethod
    def query_side(self, query: Float[Tensor, "*B D"]) -> Float[Tensor, "*B P"]:
        """The left factor."""

    @abstractmethod
    def key_side(
        self, keys: Float[Tensor, "*K C S"]
    ) -> tuple[Float[Tensor, "*K C P"], Float[Tensor, "*K C"] | None]:
        """The right factor, and what a key adds to its logit whatever the query (None: nothing)."""


class HasMisses(ABC):
    """Capability: E = sum_g tau_g miss(-(a_g <h_g, w_g> + b_g)) over G features of D / G numbers each.

    activation: which miss, as in native.tiles.ACTIVATIONS; all change by a quarter of their argument or less.
    """

    activation: str

    @abstractmethod
    def scalars(self) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"], Float[Tensor, " G"]]:
        """tau, a and b of every feature, as they act now."""


class HasCodes(ABC):
    """Capability: queries and keys have codes of G bits, and every bit they differ in costs at least so much.

    For all keys: E(h, w) >= least(h) + the costs of the bits in which the codes of h and w differ.
    """

    @abstractmethod
    def query_code(
        self, query: Float[Tensor, "R D"]
    ) -> tuple[Bool[Tensor, "R G"], Float[Tensor, "R G"], Float[Tensor, " R"]]:
        """The bits asked for, what each costs a key that has it not, and the least energy of any key."""

    @abstractmethod
    def key_code(self, keys: Float[Tensor, "C D"]) -> Bool[Tensor, "C G"]:
        """The bits of each key."""


class HasBits(ABC):
    """Capability: scores go through soft bits, numbers in [0, 1] that are meant to act as 0 or 1."""

    @abstractmethod
    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C D"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        """The soft bits by name, features G on the last axis, samples before it.

        `query` [T, G] and `word` [C, G] are the codes of one side (their signs may collide), `match`
        [T, C, G] says how much a pair agrees. Pass a sample of queries and keys: `match` is stored.
        """


class HasPenalty(ABC):
    """Capability: training pays for more than the likelihood, through an auxiliary loss."""

    penalty_weight: float  # 0: nothing is paid

    @abstractmethod
    def penalty(self, query: Float[Tensor, "N D"], keys: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
        """What is to become small, of a few queries and the keys of the words that followed them."""


class _WithGradientOf(torch.autograd.Function):
    """The value of the first argument, with the gradient that the mean of its rows plus the second has."""

    @staticmethod
    def forward(ctx, nll: Tensor, penalty: Tensor, asked: Tensor) -> Tensor:
        ctx.save_for_backward(asked)
        return nll.clone()

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradients[0], gradients[0][ctx.saved_tensors[0]].sum(), None


class Head(nn.Module, ABC):
    """An output layer: hidden vectors in, one logit per word out."""

    width: int
    vocab_size: int

    @abstractmethod
    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits of all words."""

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        """Logits of some words only, up to nothing: equal to `forward(hidden).gather(-1, words)`."""
        return self(hidden).gather(-1, words)

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """Negative log-likelihood of each row's target in nats; 0 where it is IGNORE."""
        return tiled_nll(self, hidden, targets, self.vocab_size)

    def loss(self, hidden: Float[Tensor, "*B D"], targets: Int[Tensor, "*B"]) -> Float[Tensor, ""]:
        """Mean of `nll` over the targets that are not IGNORE."""
        nll = self.nll(hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1))
        return nll.sum() / (targets != IGNORE).sum().clamp(min=1)

    def rank_bound(self) -> int | None:
        """Largest rank of a matrix of log-probabilities this head can give; None if not limited."""
        return None

    @abstractmethod
    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        """Set the biases so that an uninformative hidden vector gives these log-probabilities."""

    @abstractmethod
    def table(self) -> nn.Parameter | None:
        """The `[V, D]` word table that an input embedding may share; None if there is none."""


class EnergyHead(Head):
    """Words under a pairwise energy: logits = bias - energy(hidden, word vectors)."""

    def __init__(self, energy: Energy, vocab_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.energy = energy
        self.width, self.vocab_size = energy.width, vocab_size
        self.start_error: float | None = None  # nats a logit was off, if it replaced another layer
        self.weight = nn.Parameter(torch.empty(vocab_size, energy.key_width))
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None
        with torch.no_grad():
            energy.init_keys(self.weight)

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        rows = hidden.reshape(-1, hidden.shape[-1])
        return _logits(self.energy, rows, self.weight, self.bias).unflatten(0, hidden.shape[:-1])

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        logits = -self.energy(hidden.unsqueeze(-2), self.weight[words]).squeeze(-2)
        return logits if self.bias is None else logits + self.bias[words]

    def nll(self, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """As in `Head`; while training, the gradient is that of the rows' mean plus the energy's penalty."""
        nll = self.energy.nll(hidden, self.weight, self.bias, targets)
        energy = self.energy
        if not (self.training and isinstance(energy, HasPenalty) and energy.penalty_weight):
            return nll
        asked = (targets != IGNORE).nonzero().squeeze(-1)
        if len(asked) < 2:
            return nll
        few = asked[:: math.ceil(len(asked) / PENALISED)]
        penalty = energy.penalty(hidden[few], self.weight[targets[few]])
        return _WithGradientOf.apply(nll, energy.penalty_weight * penalty, asked)

    def rank_bound(self) -> int | None:
        return self.energy.rank_bound()

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        if self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(log_unigram)

    def table(self) -> nn.Parameter | None:
        return self.weight


class LinearHead(Head):
    """Somebody's linear output layer as a head; its parameters are shared, not copied."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.vocab_size, self.width = layer.weight.shape
        self.weight, self.bias = cast(nn.Parameter, layer.weight), layer.bias

    def forward(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return F.linear(hidden, self.weight, self.bias)

    def score(
        self, hidden: Float[Tensor, "*B D"], words: Int[Tensor, "*B C"]
    ) -> Float[Tensor, "*B C"]:
        logits = (self.weight[words] @ hidden.unsqueeze(-1)).squeeze(-1)
        return logits if self.bias is None else logits + self.bias[words]

    def rank_bound(self) -> int | None:
        return self.width + (self.bias is not None)

    def start_from(self, log_unigram: Float[Tensor, " V"]) -> None:
        if self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(log_unigram)

    def table(self) -> nn.Parameter | None:
        return self.weight


@torch.no_grad()
def _started(head: EnergyHead, layer: nn.Linear, hidden: Tensor | None, error: float) -> EnergyHead:
    """The head with the sharpest start that is at most `error` off the layer's logits on `hidden`."""
    if hidden is None:
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(START_ROWS, layer.in_features, generator=generator)
    rows = hidden.reshape(-1, layer.in_features).to(layer.weight)
    few, rest = rows.split([min(START_ROWS, len(rows)), max(0, len(rows) - START_ROWS)])
    closest, sharpness = math.inf, 4.0
    while sharpness >= BLUNTEST:
        head.energy.start_as_inner(sharpness)
        bias = head.energy(torch.zeros_like(rows[:1]), head.weight)[0]
        head.bias = nn.Parameter(bias if layer.bias is None else bias + layer.bias)
        off = _most_off(head, layer, few)
        if off <= error:
            off = max([off, *(_most_off(head, layer, part) for part in rest.split(START_ROWS))])
        if off <= error:
            head.start_error = off
            return head
        closest, sharpness = min(closest, off), sharpness / 2
    raise ValueError(
        f"{type(head.energy).__name__} starts {closest:.2g} nats off the layer's logits at best "
        f"({layer.weight.dtype}); allow error={closest * 1.1:.2g}, or give the layer in float32"
    )


def _most_off(head: Head, layer: nn.Linear, rows: Tensor) -> float:
    return (head(rows) - layer(rows)).abs().max().item() if len(rows) else 0.0


def _logits(energy: Energy, rows: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    logits = -energy(rows, keys)
    return logits if bias is None else logits + bias


def tiled_nll(
    logits_of, hidden: Float[Tensor, "R D"], targets: Int[Tensor, " R"], vocab_size: int
) -> Float[Tensor, " R"]:
    """Cross-entropy per row with at most TILE logits alive: tiles of rows, recomputed going back."""

    def tile_nll(rows: Tensor, wanted: Tensor) -> Tensor:
        logits = logits_of(rows).float()
        return F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORE)

    tile = max(1, TILE // vocab_size)
    if hidden.shape[0] <= tile:
        return tile_nll(hidden, targets)
    parts = zip(hidden.split(tile), targets.split(tile), strict=True)
    return torch.cat([checkpoint(tile_nll, *part, use_reentrant=False) for part in parts])
