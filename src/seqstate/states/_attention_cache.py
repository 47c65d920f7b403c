"""The state of attention: the keys and values of the tokens still in sight, newest last.

Every layer keeps `[B, S, H, K]` tensors whose last slot is the newest token; `read` counts what each row has
read, so slot i of a row is filled if i >= S - read. The cache is bounded by the window: S <= window - 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqstate.states._attention_positions import distances

SLACK = 4  # memory a kept view may hold alive, in multiples of what it shows


def append(
    past: Float[Tensor, "B S H K"], new: Float[Tensor, "B T H K"]
) -> Float[Tensor, "B S2 H K"]:
    """Old and new keys (or values) of one layer in order of time."""
    if not past.shape[1]:
        return new
    return torch.cat([past if past.dtype == new.dtype else past.to(new.dtype), new], 1)


def keep(
    seen: Float[Tensor, "B S H K"], time: int, reach: int, lengths: Int[Tensor, " B"] | None
) -> Float[Tensor, "B S2 H K"]:
    """What the next token may still see: the newest `reach` of `seen`, whose last `time` are new.

    With `lengths`, the padding at the end of a row is dropped and its slots are pushed to the right.
    """
    total = seen.shape[1]
    size = min(reach, total)
    if lengths is not None:
        slots = torch.arange(total - size - time, total - time, device=seen.device)
        # before the row's first token there is nothing: any slot will do, `read` marks it as empty
        index = (slots + lengths[:, None]).clamp(min=0)
        return seen.gather(1, index[:, :, None, None].expand(-1, -1, *seen.shape[2:]))
    kept = seen[:, total - size :]
    if torch.compiler.is_exporting() or kept.untyped_storage().nbytes() <= SLACK * kept.nbytes:
        return kept
    return kept.clone()


def mask(
    time: int, window: int, slots: int, read: Int[Tensor, " B"] | None, like: Tensor
) -> Bool[Tensor, "B T S"] | Bool[Tensor, "1 T S"] | None:
    """Which of `slots` cached and `time` new keys each new query sees; None: all of them."""
    # an exported step serves full and short rows alike
    short = read is not None and (torch.compiler.is_exporting() or bool((read < slots).any()))
    if time == 1 and not short:
        return None
    distance = distances(time, slots + time, like)
    visible = distance >= 0
    if window:
        visible &= distance < window
    visible = visible[None]
    if short:
        filled = torch.arange(slots + time, device=like.device) >= (slots - read)[:, None]
        visible = visible & filled[:, None]
    return visible
