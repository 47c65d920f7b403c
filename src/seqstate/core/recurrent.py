"""Reading rows of unequal length with torch's recurrent cells."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def read_packed(
    cell: nn.RNNBase, x: Float[Tensor, "B T D"], before: Any, lengths: Int[Tensor, " B"] | None
) -> tuple[Float[Tensor, "B T H"], Any]:
    """Run `cell` over x from the state `before`; padding past `lengths` is not read."""
    if lengths is None:
        return cell(x, before)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    hidden, after = cell(packed, before)
    return pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])[0], after
