"""The linear recurrence by its equation, and in the log space of the minGRU paper."""

from __future__ import annotations

import torch
from torch import Tensor


def by_equation(keep: Tensor, write: Tensor, start: Tensor) -> Tensor:
    """h_t = keep_t h_{t-1} + write_t, number by number of time."""
    states = [start]
    for t in range(keep.shape[1]):
        states.append(keep[:, t] * states[-1] + write[:, t])
    return torch.stack(states[1:], 1)


def in_log_space(keep: Tensor, write: Tensor, start: Tensor) -> Tensor:
    """Heinsen's scan, of positive numbers only (Feng et al. 2024, appendix B; arXiv:2311.06281)."""
    decay = keep.log().cumsum(1)
    terms = torch.cat([start.log()[:, None], write.log() - decay], 1)
    return (decay + terms.logcumsumexp(1)[:, 1:]).exp()
