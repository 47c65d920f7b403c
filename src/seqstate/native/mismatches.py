"""Words whose bits differ from a row's in few of the places that count: a scan over packed codes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from seqstate import native

CHUNK = 64  # bits of a number


def packed(bits: Bool[Tensor, "N G"]) -> Int[Tensor, "N chunks"]:
    """Bits in 64-bit numbers, the first in the lowest place."""
    padded = torch.nn.functional.pad(bits.cpu(), (0, -bits.shape[1] % CHUNK))
    return torch.from_numpy(np.packbits(padded.numpy(), axis=1, bitorder="little").view(np.int64))


def few_mismatches(
    codes: Int[Tensor, "chunks V"],
    bits: Int[Tensor, "R chunks"],
    counted: Int[Tensor, "R chunks"],
    most: Int[Tensor, " R"],
) -> list[Int[Tensor, " _"]]:
    """The words of each row with fewer than `most` mismatches in the counted places, ascending.

    All are contiguous; codes as `packed` gives them, transposed.
    """
    if not native.available():
        return [_few(codes, *row) for row in zip(bits, counted, most.tolist(), strict=True)]
    chunks, words = codes.shape
    addresses = (t.data_ptr() for t in (bits, counted, most))
    found = native.extension().few_mismatches(
        words, chunks, codes.data_ptr(), len(bits), *addresses
    )
    return [torch.frombuffer(row, dtype=torch.int64) if row else _NONE for row in found]


_NONE = torch.zeros(0, dtype=torch.int64)


def _few(codes: Tensor, bits: Tensor, counted: Tensor, most: int) -> Tensor:
    apart = (codes ^ bits.unsqueeze(-1)) & counted.unsqueeze(-1)
    count = np.unpackbits(apart.numpy().view(np.uint8).reshape(*apart.shape, 8), axis=-1).sum(
        (0, 2)
    )
    return torch.from_numpy(np.flatnonzero(count < most))
