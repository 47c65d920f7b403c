"""Multi-vector Hamming (the essay's flagship): E = sum_g tau_g sigmoid(-(a_g <h_g, w_g> + b_g)).

A word has G features, each a vector of K = D / G numbers. Inside a feature an inner product says how well
state and word agree, a sigmoid turns that into a soft bit "this feature misses", and the misses are added
(L1): a feature can cost at most tau_g and can never buy back another's miss. Since
sigmoid(-x) = 1 - sigmoid(x), the logit is sum_g tau_g sigmoid(a_g <h_g, w_g> + b_g) up to a constant.

Three curves with the same middle (1/2, slope 1/4) and the same ends (0 and 1) may squash the product x:
`sigmoid` 1 / (1 + exp(-x)); `clamped` x / 4 + 1/2 cut at 0 and 1, the cheapest, without gradient outside;
`rational` (1 + x / (2 + |x|)) / 2, whose tails are heavy, so a far miss still learns.

Two ways to make the bits act, both off by default: `anneal` multiplies what the sigmoids see by a sharpness
that grows from 1 to `anneal` over the training; `penalty` weighs a loss on unbalanced and repeated bits.

tau = 4, a = 1, b = 0 starts it as an inner product (its slope at zero is tau a / 4 = 1). Inner arguments are
clamped to +-30. The rank is not limited by D; only bits saturated on both sides (K = 1) fall back to G + 1.
Source: catsmile.info/3002 (2022). Related: continuous Hamming distance, math.stackexchange 4390080.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate import native
from seqstate.core.energy import Energy, HasBits, HasMisses, HasPenalty
from seqstate.core.schedule import Scheduled, geometric
from seqstate.energies._bits import uneven
from seqstate.energies._features import check_groups, feature_sum

CLAMP = 30.0
AT_ONCE = 1 << 18  # numbers of keys whose products with one query are all kept


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x.clamp(-CLAMP, CLAMP))


def _clamped(x: Tensor) -> Tensor:
    return (x / 4 + 0.5).clamp(0, 1)


def _rational(x: Tensor) -> Tensor:
    x = x.clamp(-CLAMP, CLAMP)
    return (1 + x / (2 + x.abs())) / 2


ACTIVATIONS = {"sigmoid": _sigmoid, "clamped": _clamped, "rational": _rational}


class MultiHamming(Energy, HasBits, HasMisses, HasPenalty, Scheduled):
    """groups: features G (must divide the width). tau, a: start of the learnt scale and sharpness.

    activation: sigmoid, clamped or rational. anneal: sharpness at the end of a training (1: not scheduled).
    penalty: weight of imbalance and redundancy of the bits. start: length of a fresh word vector; with a
    large tau, a short one trains faster (see `inner`).
    """

    sharpness: Tensor  # if scheduled

    def __init__(
        self,
        *,
        width: int = 128,
        groups: int = 8,
        tau: float = 4.0,
        a: float = 1.0,
        activation: str = "sigmoid",
        anneal: float = 1.0,
        penalty: float = 0.0,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        check_groups(width, groups)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}; there are {', '.join(ACTIVATIONS)}")
        if anneal <= 0 or penalty < 0 or start <= 0:
            raise ValueError(
                f"anneal={anneal}, penalty={penalty}, start={start}: a sharpness and a length are above 0, "
                "a penalty not below"
            )
        self.width, self.groups, self.activation = width, groups, activation
        self.anneal, self.penalty_weight, self.start = anneal, penalty, start
        self.log_tau = nn.Parameter(torch.full((groups,), math.log(tau)))
        self.log_a = nn.Parameter(torch.full((groups,), math.log(a)))
        self.b = nn.Parameter(torch.zeros(groups))
        if anneal != 1:
            self.register_buffer("sharpness", torch.tensor(1.0))

    def init_keys(self, keys: Float[Tensor, "C D"]) -> None:
        nn.init.normal_(keys, std=self.start / math.sqrt(self.width))

    def forward(
        self, query: Float[Tensor, "*Q T D"], keys: Float[Tensor, "*K C D"]
    ) -> Float[Tensor, "*E T C"]:
        squash = ACTIVATIONS[self.activation]
        tau, a, b = self.scalars()
        if query.shape[-2] == 1 and math.prod(keys.shape) <= AT_ONCE:
            # one query, few keys (words left by a screen, a step of attention): all features in one go
            pairs = (query * keys).unflatten(-1, (self.groups, -1)).sum(-1)
            return (tau * squash(-(a * pairs + b))).sum(-1).unsqueeze(-2)

        def miss(query_g, keys_g, tau, a, b):
            return tau * squash(-_agreement(query_g, keys_g, a, b))

        return feature_sum(miss, self.groups, query, keys, tau, a, b)

    def nll(
        self,
        query: Float[Tensor, "R D"],
        keys: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        targets: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        if native.usable(query, keys, bias, short=True) and native.usable(self.b):
            return native.cross_entropy_multi_hamming(
                query, keys, *self.scalars(), bias, targets, activation=self.activation
            )
        return super().nll(query, keys, bias, targets)

    def scalars(self) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"], Float[Tensor, " G"]]:
        """tau, a and b of every feature, as they act now."""
        tau, a = self.log_tau.exp(), self.log_a.exp()
        if self.anneal == 1:
            return tau, a, self.b
        return tau, self.sharpness * a, self.sharpness * self.b

    def schedule(self, share: float) -> None:
        if self.anneal != 1:
            self.sharpness.fill_(geometric(1.0, self.anneal, share))

    def penalty(self, query: Float[Tensor, "N D"], keys: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
        return uneven(self.soft_bits(query, keys)["match"])

    def start_as_inner(self, sharpness: float) -> None:
        # off by less than sharpness^2 |<h_g, w_g>|^3 / 12 a feature, the sigmoid's next term
        with torch.no_grad():
            self.log_a.fill_(math.log(sharpness))
            self.log_tau.fill_(math.log(4 / sharpness))
            self.b.zero_()

    def soft_bits(
        self, query: Float[Tensor, "T D"], keys: Float[Tensor, "C D"]
    ) -> dict[str, Float[Tensor, "... G"]]:
        squash = ACTIVATIONS[self.activation]
        _, a, b = self.scalars()
        features = zip(query.chunk(self.groups, -1), keys.chunk(self.groups, -1), a, b, strict=True)
        return {"match": torch.stack([squash(_agreement(*feature)) for feature in features], -1)}


def _agreement(query_g: Tensor, keys_g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return a * (query_g @ keys_g.transpose(-1, -2)) + b
