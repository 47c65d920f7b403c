"""Is a difference between two rows more than their seeds scatter? Welch's interval, said in plain words.

The 95 % interval of a difference of means is gap +- t * sqrt(s1^2 / n1 + s2^2 / n2), with t at Welch and
Satterthwaite's degrees of freedom (Welch 1947). A counted row has no seed: its variance is 0. A row that
was trained once has an unknown variance, and then nothing is claimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from seqstate.report.summary import Row

# 97.5 % quantiles of Student's t for 1, 2, ... 30 degrees of freedom
T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


@dataclass(frozen=True)
class Contrast:
    """gap: mean of the worse minus mean of the better. margin: half its 95 % interval, None if not known."""

    gap: float
    margin: float | None

    @property
    def told_apart(self) -> bool | None:
        """Whether the interval leaves out zero; None if not known."""
        return None if self.margin is None else self.gap > self.margin


def contrast(better: Row, worse: Row, score: str) -> Contrast:
    """The difference between two rows in their score (nats or bits, lower is better)."""
    gap = worse.stats[score].mean - better.stats[score].mean
    variances = [_variance(row, score) for row in (better, worse)]
    if any(variance is None for variance, _ in variances):
        return Contrast(gap, None)
    parts = [(variance or 0.0, freedom) for variance, freedom in variances]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return Contrast(gap, 0.0)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts if variance > 0)
    return Contrast(gap, student(freedom) * math.sqrt(total))


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, at the whole number of degrees below (never too narrow)."""
    degrees = max(1, math.floor(freedom + 1e-9))
    return T[degrees - 1] if degrees <= len(T) else T[-1]


def _variance(row: Row, score: str) -> tuple[float | None, int]:
    """Variance of the row's mean and its degrees of freedom."""
    stat = row.stats[score]
    if row.counted:
        return 0.0, 1
    if stat.spread is None:
        return None, 0
    return stat.spread**2 / stat.count, stat.count - 1
