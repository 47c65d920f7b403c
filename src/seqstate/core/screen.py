"""Contract of a Screen: words thrown away before their energy is paid for, and what is certain afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqstate.core.energy import Head, LinearHead

NOBODY = -1  # in place of a word, where a row has fewer left than another
AT_ONCE = 1 << 24  # numbers of word vectors gathered at a time


class Shortlist(NamedTuple):
    """The words left for each row, and their logits as the head gives them.

    Where a row has fewer than C words, NOBODY and -inf fill it up. certain: the k likeliest of all words are
    certainly among them. scored: words whose energy was paid.
    """

    words: Int[Tensor, "R C"]
    logits: Float[Tensor, "R C"]
    certain: Bool[Tensor, " R"]
    scored: Int[Tensor, " R"]


class Screen(ABC):
    """Built for an output layer as it is now, with keywords only; to be built anew when the layer has learnt.

    head: a Head, or torch's nn.Linear. Raises ValueError for a layer that it cannot screen.
    """

    exact: bool  # every shortlist is certain

    def __init__(self, *, head: Head | nn.Linear) -> None:
        self.head = LinearHead(head) if isinstance(head, nn.Linear) else head

    @abstractmethod
    def shortlist(self, hidden: Float[Tensor, "R D"], k: int = 1) -> Shortlist:
        """The words that may be among the k likeliest after each hidden vector."""

    def topk(
        self, hidden: Float[Tensor, "*B D"], k: int = 1
    ) -> tuple[Float[Tensor, "*B k"], Int[Tensor, "*B k"]]:
        """Logits and words of the k best that are left, best first, as `torch.topk` of all logits.

        A row with fewer left is filled up with NOBODY and -inf. k: at most the vocabulary.
        """
        k = min(k, self.head.vocab_size)
        found = self.shortlist(hidden.reshape(-1, hidden.shape[-1]), k)
        words, logits = found.words, found.logits
        if (short := k - words.shape[1]) > 0:
            words = nn.functional.pad(words, (0, short), value=NOBODY)
            logits = nn.functional.pad(logits, (0, short), value=-torch.inf)
        best = logits.topk(k)
        shape = *hidden.shape[:-1], k
        return best.values.view(shape), words.gather(-1, best.indices).view(shape)


@torch.no_grad()
def scored(
    head: Head, hidden: Float[Tensor, "R D"], kept: Sequence[Int[Tensor, " _"]]
) -> tuple[Int[Tensor, "R C"], Float[Tensor, "R C"]]:
    """The words of each row side by side, filled up by NOBODY, and their logits, by -inf."""
    if len(kept) == 1:  # nothing to fill up: of one row the calls below cost as much as a scan
        words = kept[0].unsqueeze(0).to(hidden.device)
        return words, head.score(hidden, words)
    words = pad_sequence(list(kept), batch_first=True, padding_value=NOBODY).to(hidden.device)
    together = max(1, AT_ONCE // (words.shape[1] * hidden.shape[1]))
    parts = zip(hidden.split(together), words.clamp(min=0).split(together), strict=True)
    logits = torch.cat([head.score(*part) for part in parts])
    return words, logits.masked_fill(words == NOBODY, -torch.inf)
