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

from seqstate.states._scan import linear_scan

PIECE = 32  # tokens whose weights are products of one factor each; bounds the factors' exponents


class Weights(NamedTuple):
    """How much a token and the past count in each slot."""

    read: Float[Tensor, "B H P L S"]
    write: Float[Tensor, "B H P L S"]
    carried: Float[Tensor, "B H P S"] | None  # None: 1


class SlotMemory:
    """Slots over P pieces of L tokens, from `held` [B, H, S, 2K] on: keys beside values."""

    def __init__(
        self,
        key: Float[Tensor, "B H P L K"],
        value: Float[Tensor, "B H P L K"],
        weights: Weights,
        held: Float[Tensor, "B H S K2"],
    ) -> None:
        self.key, self.value, self.weights = key, value, weights
        last = weights.read[:, :, :, -1]
        keep = last if weights.carried is None else last * weights.carried
        added = (weights.write * last.unsqueeze(3)).mT @ torch.cat([key, value], -1)
        before, self.after = _over_pieces(keep, added, held)
        if weights.carried is not None:
            before = before * weights.carried.unsqueeze(-1)
        self.before_key, self.before_value = before.split(key.shape[-1], -1)  # B H P S K

    def scores(self, query: Float[Tensor, "B H P L K"]) -> Float[Tensor, "B H P L S"]:
        """<query_t, what each slot's key is at t>."""
        edges = (query @ self.key.mT).tril()
        past = query @ self.before_key.mT
        return (edges @ self.weights.write + past) * self.weights.read

    def keys(self, share: Float[Tensor, "B H P L S"]) -> Float[Tensor, "B H P L K"]:
        """The slots' keys at t, mixed by the shares of t."""
        share = share * self.weights.read
        return self._edges(share) @ self.key + share @ self.before_key

    def values(self, share: Float[Tensor, "B H P L S"]) -> Float[Tensor, "B H P L K"]:
        """The slots' values at t, mixed by the shares of t."""
        share = share * self.weights.read
        return self._edges(share) @ self.value + share @ self.before_value

    def _edges(self, share: Float[Tensor, "B H P L S"]) -> Float[Tensor, "B H P L L"]:
        return (share @ self.weights.write.mT).tril()


def cut(x: Float[Tensor, "B T H K"]) -> Float[Tensor, "B H P L K"]:
    """Pieces of equal length, the last filled up with zeros."""
    size = min(PIECE, x.shape[1])
    missing = -x.shape[1] % size
    if missing:
        x = F.pad(x, (0, 0, 0, 0, 0, missing))
    return x.unflatten(1, (-1, size)).permute(0, 3, 1, 2, 4).contiguous()


def join(pieces: Float[Tensor, "B H P L K"], time: int) -> Float[Tensor, "B T H K"]:
    """The inverse of `cut`."""
    return pieces.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :time]


def _over_pieces(
    keep: Float[Tensor, "B H P S"],
    added: Float[Tensor, "B H P S K2"],
    held: Float[Tensor, "B H S K2"],
) -> tuple[Float[Tensor, "B H P S K2"], Float[Tensor, "B H S K2"]]:
    """What the slots hold before each piece, and after the last."""
    if keep.shape[2] == 1:
        return held.unsqueeze(2), keep[:, :, 0, :, None] * held + added[:, :, 0]
    shape = added.transpose(1, 2).shape
    keeps = keep.transpose(1, 2).unsqueeze(-1).expand(shape)
    after = linear_scan(
        keeps.flatten(2), added.transpose(1, 2).flatten(2), held.flatten(1)
    ).unflatten(2, shape[2:])
    after = after.transpose(1, 2)
    return torch.cat([held.unsqueeze(2), after[:, :, :-1]], 2), after[:, :, -1]
