"""Slow twins of what a linear head can reach: one linear programme over all words, no shortcuts."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import linprog


def can_win(weight: np.ndarray, bias: np.ndarray, chosen: list[int]) -> bool:
    """Whether some h gives every chosen word a larger logit than every other word."""
    others = [j for j in range(len(weight)) if j not in chosen]
    width = weight.shape[1]
    rows = [
        np.concatenate([weight[j] - weight[i], [bias[j] - bias[i], 1.0]])
        for i, j in itertools.product(chosen, others)
    ]
    found = linprog(
        np.append(np.zeros(width + 1), -1.0),
        A_ub=np.array(rows),
        b_ub=np.zeros(len(rows)),
        bounds=[(-1.0, 1.0)] * width + [(0.0, 1.0), (None, 1.0)],
        method="highs",
    )
    assert found.status == 0
    return -found.fun > 1e-7


def signs_seen(weight: np.ndarray, bias: np.ndarray, draws: int, seed: int) -> int:
    """Distinct sign patterns of weight @ h + bias over many random h of many lengths."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((draws, weight.shape[1])) * rng.uniform(0, 30, (draws, 1))
    return len(np.unique(hidden @ weight.T + bias > 0, axis=0))
