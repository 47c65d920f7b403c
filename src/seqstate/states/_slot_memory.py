"""What S slots hold at every token of a text, computed in pieces and never stored per token.

A slot holds weighted sums of the keys and values read so far. Inside a piece token s weighs
read_t * write_s in a slot at t >= s, and what the slot held before the piece weighs read_t * carried: with
these factors everything is a product of matrices, as in gated linear attention (Yang et al. 2023,
https://arxiv.org/abs/2312.06635). Cost is linear in the text. Nothing that comes after t enters what is
computed at t, not even through rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PIECE = 32  # tokens whose weights are products of one factor each; bounds the factors' exponents


class Weights(NamedTuple):
    """How much a token and the past count in each slot."""

    read: Float[Tensor, "P B H L S"]
    write: Float[Tensor, "P B H L S"]
    carried: Float[Tensor, "P B H S"] | None  # None: 1


class SlotMemory:
    """Slots over P pieces of L tokens, from `held` on, to be asked often; `_slot_mix` asks once, faster."""

    def __init__(
        self,
        key: Float[Tensor, "P B H L K"],
        value: Float[Tensor, "P B H L K"],
        weights: Weights,
        held: Float[Tensor, "B H S K2"],
    ) -> None:
        self.key, self.value, self.weights = key, value, weights
        last = weights.read[:, :, :, -1]
        keep = last if weights.carried is None else last * weights.carried
        added = (weights.write * last.unsqueeze(3)).mT @ torch.cat([key, value], -1)
        states = [held]
        for kept, new in zip(keep, added, strict=True):
            states.append(kept.unsqueeze(-1) * states[-1] + new)
        self.after, before = states[-1], torch.stack(states[:-1])
        if weights.carried is not None:
            before = before * weights.carried.unsqueeze(-1)
        self.before_key, self.before_value = before.split(key.shape[-1], -1)  # P B H S K

    def scores(self, query: Float[Tensor, "P B H L K"]) -> Float[Tensor, "P B H L S"]:
        """<query_t, what each slot's key is at t>."""
        edges = (query @ self.key.mT).tril_()
        past = query @ self.before_key.mT
        return (edges @ self.weights.write + past) * self.weights.read

    def keys(self, share: Float[Tensor, "P B H L S"]) -> Float[Tensor, "P B H L K"]:
        """The slots' keys at t, mixed by the shares of t."""
        share = share * self.weights.read
        return self._edges(share) @ self.key + share @ self.before_key

    def values(self, share: Float[Tensor, "P B H L S"]) -> Float[Tensor, "P B H L K"]:
        """The slots' values at t, mixed by the shares of t."""
        share = share * self.weights.read
        return self._edges(share) @ self.value + share @ self.before_value

    def _edges(self, share: Float[Tensor, "P B H L S"]) -> Float[Tensor, "P B H L L"]:
        return (share @ self.weights.write.mT).tril_()


def cut(x: Float[Tensor, "B T H K"], fill: float = 0.0) -> Float[Tensor, "P B H L K"]:
    """Pieces of equal length, the last filled up."""
    size = min(PIECE, x.shape[1])
    missing = -x.shape[1] % size
    if missing:
        x = F.pad(x, (0, 0, 0, 0, 0, missing), value=fill)
    return x.unflatten(1, (-1, size)).permute(1, 0, 3, 2, 4).contiguous()


def join(pieces: Float[Tensor, "P B H L K"], time: int) -> Float[Tensor, "B T H K"]:
    """The inverse of `cut`."""
    return pieces.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :time]
