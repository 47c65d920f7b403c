"""Look-ups in sorted tables of packed keys `row << bits | word`, many at a time.

A table ends with one entry more, `BEYOND`, which is where an absent key and the index -1 lead; the tables
of values beside it end with a 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

BEYOND = np.iinfo(np.int64).max  # ends every sorted table: no key is as large


def ended(array: np.ndarray) -> Tensor:
    """A table with its last entry: int64 arrays are keys, others values (float32, or int32 for integers)."""
    if array.dtype == np.int64:
        return torch.from_numpy(np.append(array, BEYOND))
    kind = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int32
    return torch.from_numpy(np.append(array.astype(kind, copy=False), kind(0)))


def find(
    table: Int[Tensor, " N"], key: Int[Tensor, " Q"]
) -> tuple[Int[Tensor, " Q"], Bool[Tensor, " Q"]]:
    """Where each key would be, and whether it is there. A negative key never is."""
    place = torch.searchsorted(table, key)
    return place, table[place] == key


def entries(
    table: Int[Tensor, " N"], row: Int[Tensor, " Q"], bits: int
) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Int[Tensor, " E"]]:
    """All entries of the given rows: whose each is (index into `row`), its place, and its word."""
    first = row << bits
    start, end = torch.searchsorted(table, torch.stack([first, first + (1 << bits)]))
    size = end - start
    owner = torch.arange(len(row), device=row.device).repeat_interleave(size)
    shift = start - size.cumsum(0) + size  # from the number of an entry among all to its place
    place = torch.arange(len(owner), device=row.device) + shift[owner]
    return owner, place, table[place] & ((1 << bits) - 1)


def resize_buffers(
    module: nn.Module, stored: Mapping[str, Tensor], prefix: str, fixed: Collection[str]
) -> None:
    """Give the buffers of a module the sizes of those about to be loaded, except the `fixed` ones."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        loaded = stored.get(prefix + name)
        if name not in fixed and loaded is not None:
            module.register_buffer(name, buffer.new_empty(loaded.shape))
