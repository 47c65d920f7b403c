"""Paired tests over seeds, and Holm's correction for asking several times.

Not a claim (its name starts with an underscore). Both runs of a pair share seed and data, so that what the
seed does to both cancels in their difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """gain: mean of theirs - ours (positive: ours is lower). margin: half its 95 % interval. p: one-sided."""

    gain: float
    margin: float
    p: float
    pairs: int


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Student's paired t-test that ours is lower than theirs (scipy.stats.ttest_rel, one-sided).

    Raises ValueError below two pairs: one difference has no spread.
    """
    from scipy import stats

    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(
            f"a paired test needs 2 pairs or more, found {len(ours)} and {len(theirs)} values"
        )
    gains = np.asarray(theirs, float) - np.asarray(ours, float)
    gain, error = float(gains.mean()), float(gains.std(ddof=1)) / len(gains) ** 0.5
    if error == 0:
        return Paired(gain, 0.0, 0.0 if gain > 0 else 1.0, len(gains))
    freedom = len(gains) - 1
    margin = float(stats.t.ppf(0.975, freedom)) * error
    return Paired(gain, margin, float(stats.t.sf(gain / error, freedom)), len(gains))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that their smallest may be believed (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
