"""From scores to edges other than by softmax: one predecessor, a drawn one, or few.

Hidden predecessors come with a score of -inf and leave with a weight of 0. Hard picks pass gradients straight
through to the softmax they harden (Bengio et al. 2013; Jang et al. 2017, https://arxiv.org/abs/1611.01144).
Sparsemax and entmax are computed by the `entmax` library (Martins & Astudillo 2016; Peters et al. 2019).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import entmax
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.spec import Spec, parse

Noise = Callable[[int], Tensor]  # number of the draw -> Gumbel noise of the shape of the scores
WORD = (1 << 32) - 1


class Picker(ABC):
    """Turns scores [B, H, T, S] into edge weights that sum to 1 over S."""

    drawn = False  # needs noise, hence a seed in the state

    @abstractmethod
    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        """The weights; `noise` is for those that draw."""


class Map(Picker):
    """The best predecessor alone: the graph at temperature 0."""

    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        return _straight_through(scores)


class Sample(Picker):
    """Predecessors drawn from the softmax by Gumbel-max; `draws` of them are averaged."""

    drawn = True

    def __init__(self, *, draws: int = 1) -> None:
        _at_least_one("draws", draws)
        self.draws = draws

    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        graphs = [_straight_through(scores + noise(draw)) for draw in range(self.draws)]
        return torch.stack(graphs).mean(0)


class TopK(Picker):
    """Softmax over the k best predecessors (all, where there are fewer)."""

    def __init__(self, *, k: int = 8) -> None:
        _at_least_one("k", k)
        self.k = k

    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        best, where = scores.topk(min(self.k, scores.shape[-1]), -1)
        return torch.zeros_like(scores).scatter(-1, where, best.softmax(-1))


class Sparsemax(Picker):
    """The Euclidean projection onto the simplex: most weights are exactly 0."""

    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        return entmax.sparsemax(_finite(scores, 2.0), -1)


class Entmax(Picker):
    """alpha-entmax, between softmax (alpha = 1) and sparsemax (alpha = 2)."""

    def __init__(self, *, alpha: float = 1.5) -> None:
        if not 1 < alpha <= 4:
            raise ValueError(f"entmax's alpha is {alpha}; wanted more than 1 (softmax), at most 4")
        self.alpha = alpha

    def __call__(self, scores: Tensor, noise: Noise) -> Tensor:
        scores = _finite(scores, self.alpha)
        if self.alpha == 1.5:
            return entmax.entmax15(scores, -1)
        return entmax.entmax_bisect(scores, self.alpha, -1)


PICKERS = {"map": Map, "sample": Sample, "top_k": TopK, "sparsemax": Sparsemax, "entmax": Entmax}


def build_picker(mode: str | Spec) -> Picker:
    """The picker a spec names, such as `top_k(k=4)`. Raises ValueError for what it does not know."""
    spec = parse(mode)
    if spec.name not in PICKERS:
        raise ValueError(f"unknown mode {spec.name!r}; there are {', '.join(PICKERS)}")
    try:
        return PICKERS[spec.name](**spec.options)
    except TypeError:
        raise ValueError(
            f"mode {str(spec)!r} has an option that {spec.name} does not know"
        ) from None


def gumbel(
    like: Float[Tensor, "B H T S"],
    seed: Int[Tensor, " B"],
    read: Int[Tensor, " B"],
    *,
    layer: int,
    draw: int,
) -> Float[Tensor, "B H T S"]:
    """Gumbel noise that is a function of seed, layer, draw, head and the two positions alone.

    So a text read in pieces draws the same graphs as at once, and a row the same in any batch.
    read: tokens each row had read before the first query; the last query stands at the last key.
    """
    heads, queries, keys = like.shape[1:]
    head = torch.arange(heads, device=like.device)
    query = torch.arange(queries, device=like.device)
    key = torch.arange(keys, device=like.device) - (keys - queries)
    # the seed first: added to the head, neighbouring seeds would share draws
    word = _scramble(_scramble(seed)[:, None] + (layer << 20) + (draw << 10) + head)
    word = _scramble(word[:, :, None] + (read[:, None] + query)[:, None])
    word = _scramble(word[..., None] + (read[:, None] + key)[:, None, None])
    # 23 bits and a half: neither 0 nor, in float32, 1
    uniform = ((word >> 9).to(like.dtype) + 0.5) / (1 << 23)
    return -(-uniform.log()).log()


def _scramble(word: Int[Tensor, "*_"]) -> Int[Tensor, "*_"]:
    """A 32-bit hash (C. Wellons' lowbias32); neighbours come out independent."""
    word = (word * 0x9E3779B1) & WORD  # also tells 0, 1, 2 from each other in the upper bits
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & WORD
    return word ^ (word >> 16)


def _straight_through(scores: Tensor) -> Tensor:
    soft = scores.softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def _finite(scores: Tensor, alpha: float) -> Tensor:
    """Scores clamped where their weight is 0 anyway: the library's sums do not take -inf."""
    return scores.clamp(min=scores.detach().amax(-1, keepdim=True) - 2 / (alpha - 1))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; wanted at least 1")
