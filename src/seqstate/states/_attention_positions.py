"""How attention knows where a key stands: rotation, a fixed slope, a learnt bias, or not at all.

All four depend on the distance between a query and a key only, so a state can be carried for ever.
Rotary: Su et al. 2021 (https://arxiv.org/abs/2104.09864), neighbouring numbers form the rotated pairs, so
an energy that works on groups of an even width sees each pair whole. ALiBi: Press et al. 2022
(https://arxiv.org/abs/2108.12409). Learnt: one number per head and distance (Raffel et al. 2020 without
buckets, https://arxiv.org/abs/1910.10683). None: Haviv et al. 2022 (https://arxiv.org/abs/2203.16634).
Where keys on both sides are seen, a bias knows the distance alone; only a rotation tells before from behind.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

SCHEMES = ("rotary", "alibi", "learned", "none")


class Positions(nn.Module):
    """One scheme for all layers: rotations of queries and keys, or a bias on scores, or neither."""

    def __init__(self, scheme: str, heads: int, head_width: int, window: int) -> None:
        super().__init__()
        if scheme not in SCHEMES:
            raise ValueError(f"unknown positions {scheme!r}; there are {', '.join(SCHEMES)}")
        if scheme == "rotary" and head_width % 2:
            raise ValueError(
                f"rotary positions turn pairs of numbers, but a head has {head_width}; "
                "choose heads so that width / heads is even, or positions='alibi'"
            )
        if scheme == "learned" and not window:
            raise ValueError("learned positions need a window: they are one number per distance")
        self.scheme, self.heads, self.head_width = scheme, heads, head_width
        if scheme == "learned":
            self.by_distance = nn.Parameter(torch.zeros(heads, window))

    def turn(
        self, time: int, read: Int[Tensor, " B"] | None, like: Tensor
    ) -> Complex[Tensor, "#B T 1 K2"] | None:
        """Unit complex numbers that rotate `time` vectors which follow `read` others."""
        if self.scheme != "rotary":
            return None
        # angles in float64: a float32 position loses the fast rotations after some 10^5 tokens
        speed = _speeds(self.head_width, like.device)
        if time == 1 and read is not None:
            angle = read.double().outer(speed)[:, None, None]
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            return torch.complex(angle.cos().to(dtype), angle.sin().to(dtype))
        clock = torch.arange(time, dtype=torch.float64, device=like.device)
        turn = _unit(clock.outer(speed)[None, :, None])
        if read is not None:
            turn = turn * _unit(read.double().outer(speed)[:, None, None])
        return turn.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)

    def bias(self, queries: int, keys: int, like: Tensor) -> Float[Tensor, "H T S"] | None:
        """What is added to the scores when the last query stands at the last key."""
        if self.scheme == "alibi":
            distance = distances(queries, keys, like).abs().to(like.dtype)
            return -distance * self._slopes(like)[:, None, None]
        if self.scheme == "learned":
            distance = distances(queries, keys, like).abs()
            return self.by_distance[:, distance.clamp(max=self.by_distance.shape[1] - 1)]
        return None

    def _slopes(self, like: Tensor) -> Float[Tensor, " H"]:
        whole = 2 ** math.floor(math.log2(self.heads))
        slopes = [2 ** (-8 * (i + 1) / whole) for i in range(whole)]
        # not a power of two: every other slope of twice as many heads (the authors' own rule)
        slopes += [2 ** (-4 * (2 * i + 1) / whole) for i in range(self.heads - whole)]
        return torch.tensor(slopes, dtype=like.dtype, device=like.device)


def distances(queries: int, keys: int, like: Tensor) -> Int[Tensor, "T S"]:
    """Steps from each key to each query; negative for keys that lie ahead."""
    ends = torch.arange(keys - queries, keys, device=like.device)
    return ends[:, None] - torch.arange(keys, device=like.device)


@lru_cache(maxsize=64)
def _speeds(head_width: int, device: torch.device) -> Float[Tensor, " K2"]:
    """Radians a token of each pair of numbers, float64."""
    with torch.inference_mode(False):  # kept for training too, whoever asks first
        pairs = torch.arange(head_width // 2, dtype=torch.float64, device=device)
        return torch.pow(10000.0, pairs * (-2 / head_width))


def _unit(angle: Float[Tensor, "*A"]) -> Complex[Tensor, "*A"]:
    return torch.polar(torch.ones_like(angle), angle)
