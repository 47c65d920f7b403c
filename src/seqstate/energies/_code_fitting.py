"""Codes for the words of a trained head: what `CodedHamming.from_dense` and `from_multi_hamming` compute.

Not a part (its name starts with an underscore). All is computed in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, Head
from seqstate.energies import _quantise as quantise

GAP_STATES, GAP_ROWS = 512, 32  # states that a word's bias is set by; logits held at once


class Fitted(NamedTuple):
    """Logits: bias_v + sum_g <(project h + offset)_g, books_g[codes_vg]>, up to a number a row."""

    project: Float[Tensor, "D D"]
    offset: Float[Tensor, " D"]
    books: Float[Tensor, "G C K"]
    codes: Int[Tensor, "V G"]
    bias: Float[Tensor, " V"]


def of_products(
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    hidden: Float[Tensor, "N D"],
    counts: Tensor,
    *,
    groups: int,
    codes: int,
    rotations: int,
    rounds: int,
    seed: int,
) -> Fitted:
    """Words under an inner product: whitened by the states' covariance, rotated, quantised."""
    states, words = hidden.detach().cpu().double(), weight.cpu().double()
    mean = states.mean(0)
    root, inverse = quantise.whitening(states, mean)
    weights = _say(counts)
    points = words @ root
    points = points - (weights @ points) / weights.sum()  # the same for all words, so it cancels
    rotation, books, labels = quantise.product_quantise(
        points,
        weights,
        groups=groups,
        codes=codes,
        rotations=rotations,
        rounds=rounds,
        generator=torch.Generator().manual_seed(seed),
    )
    project = rotation @ inverse
    offset = words @ mean if bias is None else words @ mean + bias.cpu().double()
    return Fitted(project, -project @ mean, books, labels, offset)


def of_features(
    weight: Float[Tensor, "V D"],
    hidden: Float[Tensor, "N D"],
    counts: Tensor,
    *,
    groups: int,
    codes: int,
    rounds: int,
    seed: int,
) -> tuple[Float[Tensor, "G C K"], Int[Tensor, "V G"]]:
    """Codebooks and codes of words whose features are squashed, so that each is whitened by itself."""
    weights, generator = _say(counts), torch.Generator().manual_seed(seed)
    words = weight.detach().cpu().double().chunk(groups, -1)
    states = hidden.detach().cpu().double().chunk(groups, -1)
    found: list[tuple[Tensor, Tensor]] = []
    for words_g, states_g in zip(words, states, strict=True):
        # around the mean: an error that is the same for all states is left to the word's bias
        root, inverse = quantise.whitening(states_g, states_g.mean(0))
        _, books, labels = quantise.product_quantise(
            words_g @ root,
            weights,
            groups=1,
            codes=codes,
            rotations=0,
            rounds=rounds,
            generator=generator,
        )
        found.append((books[0] @ inverse, labels[:, 0]))
    books, labels = zip(*found, strict=True)
    return torch.stack(books), torch.stack(labels, -1)


def mean_gap(left: Head, right: Head, hidden: Float[Tensor, "N D"]) -> Float[Tensor, " V"]:
    """How much higher `left` scores each word than `right`, less the mean over words, over some states."""
    some = hidden[:: max(1, len(hidden) // GAP_STATES)]
    with torch.no_grad():
        gaps = [(left(rows) - right(rows)).sum(0) for rows in some.split(GAP_ROWS)]
    gap = torch.stack(gaps).sum(0) / len(some)
    return gap - gap.mean()


def linear_parts(head: nn.Linear | EnergyHead, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, once `head` is seen to be the inner product with them."""
    with torch.no_grad():
        some = hidden[:4].to(head.weight)
        plain = nn.functional.linear(some, head.weight, head.bias)
        if not torch.allclose(head(some), plain, atol=1e-3, rtol=1e-3):
            raise ValueError(
                "from_dense takes an inner-product head, but this head scores otherwise; "
                "use from_multi_hamming, or train under `inner`"
            )
    return head.weight.detach(), None if head.bias is None else head.bias.detach()


def multi_hamming_parts(head: EnergyHead, hidden: Tensor) -> dict[str, Tensor]:
    """log_tau, log_a and b of its energy, once that is seen to be the sigmoid form with them."""
    found = head.energy.state_dict()
    sharpness = found.pop("sharpness", None)  # of an annealed head: it acts on a and b
    if sharpness is not None:
        found |= {"log_a": found["log_a"] + sharpness.log(), "b": sharpness * found["b"]}
    if set(found) == {"log_tau", "log_a", "b"}:
        some, words = hidden[:4].to(head.weight), head.weight.detach()[:64]
        parts = zip(
            some.chunk(len(found["b"]), -1),
            words.chunk(len(found["b"]), -1),
            found["log_tau"].exp(),
            found["log_a"].exp(),
            found["b"],
            strict=True,
        )
        misses = sum(tau * torch.sigmoid(-(a * (h @ w.T) + b)) for h, w, tau, a, b in parts)
        with torch.no_grad():
            if torch.allclose(head.energy(some, words), misses, atol=1e-3, rtol=1e-3):
                return found
    raise ValueError(
        "from_multi_hamming takes a head under `multi_hamming` with the sigmoid, but this one is under "
        f"{type(head.energy).__name__}; use from_dense, or train under `multi_hamming`"
    )


def _say(counts: Tensor) -> Float[Tensor, " V"]:
    """Weight of each word in k-means: the root of its count, at least that of one sighting."""
    return counts.detach().cpu().double().clamp_min(1).sqrt()
