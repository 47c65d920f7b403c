"""Capability of parts that change over a training by plan, such as a sigmoid that grows sharper."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Scheduled(ABC):
    """The training loop tells it before every step how far the training is; at no other time it changes."""

    anneal: float  # how many times sharper it is at the end; 1: nothing is scheduled

    @abstractmethod
    def schedule(self, share: float) -> None:
        """Set what is scheduled from the share of the training done, in [0, 1], and from nothing else.

        What is set is a buffer: it is saved with the weights, and a resumed run sets it again.
        """


def geometric(start: float, end: float, share: float) -> float:
    """From `start` to `end`, both positive, by equal factors."""
    return start * (end / start) ** share
