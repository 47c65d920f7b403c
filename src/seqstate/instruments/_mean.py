"""Averages with their error: every sequence (or row) of the batch is one independent observation."""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from seqstate.core.record import Reading


def mean_reading(name: str, values: Float[Tensor, " N"], unit: str, **tags: Any) -> Reading:
    """The mean of N observations and its standard error (None for one). Raises ValueError for none."""
    count = len(values)
    if count == 0:
        raise ValueError(f"nothing to average for {name}: give it more positions")
    stderr = float(values.double().std() / math.sqrt(count)) if count > 1 else None
    return Reading(name, float(values.double().mean()), unit, count, stderr, tags)
