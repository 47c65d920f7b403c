"""Tokens of rows that may be in the midst of a chunk, laid out in whole chunks and back.

Letters: P chunks of L tokens, H heads.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class ChunkGrid:
    """begun: how many tokens of its first chunk each row has read before. time: new tokens a row."""

    def __init__(self, size: int, begun: Int[Tensor, " B"], time: int) -> None:
        self.size, self.begun, self.time = size, begun, time
        if (
            torch.compiler.is_exporting()
        ):  # a graph knows no row's number; its one token is in one chunk
            self.even, self.count = False, 1
            return
        rows = begun.tolist()
        self.most, self.even = max(rows), min(rows) == max(rows)
        self.count = math.ceil((self.most + time) / size)

    def cut(
        self, new: Float[Tensor, "B T H X"], old: Float[Tensor, "B L H X"] | None = None
    ) -> Float[Tensor, "P H B L X"]:
        """Chunks in order of time. What follows a row's last token is anything, as is what is before its
        first new one without `old`."""
        if old is None:
            old = new.new_zeros(len(new), self.size, *new.shape[2:])
        if self.even:
            seen = torch.cat([old[:, : self.most].to(new.dtype), new], 1) if self.most else new
            missing = self.count * self.size - seen.shape[1]
            seen = F.pad(seen, (0, 0, 0, 0, 0, missing)) if missing else seen
        else:
            slot = torch.arange(self.count * self.size, device=new.device)
            place = slot - self.begun[:, None] + self.size
            last = self.size + self.time - 1
            index = torch.where(place < self.size, slot, place.clamp(max=last))
            rows = torch.arange(new.shape[0], device=new.device)[:, None]
            seen = torch.cat([old.to(new.dtype), new], 1)[rows, index]
        return seen.unflatten(1, (self.count, -1)).permute(1, 3, 0, 2, 4)

    def join(self, chunks: Float[Tensor, "P H B L X"]) -> Float[Tensor, "B T H X"]:
        """The new tokens alone, in order of time."""
        rows = chunks.permute(2, 0, 3, 1, 4).flatten(1, 2)
        if self.even:
            return rows[:, self.most : self.most + self.time]
        index = self.begun[:, None] + torch.arange(self.time, device=chunks.device)
        return rows[torch.arange(len(rows), device=chunks.device)[:, None], index]

    def unfinished(
        self, chunks: Float[Tensor, "P H B L X"], total: Int[Tensor, " B"]
    ) -> Float[Tensor, "B L H X"]:
        """The tokens of the chunk in which each row ends. total: of the row, old ones included."""
        rows = torch.arange(total.shape[0], device=chunks.device)
        done = (total // self.size).clamp(max=self.count - 1)
        nodes = chunks[done, :, rows].transpose(1, 2)  # B L H X
        filled = torch.arange(self.size, device=chunks.device) < (total % self.size)[:, None]
        return nodes * filled[:, :, None, None]
