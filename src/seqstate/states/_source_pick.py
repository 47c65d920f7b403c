"""Attention of a decoder over what its encoder read: an energy picks among the source's hidden vectors.

Luong, Pham & Manning 2015 (https://arxiv.org/abs/1508.04025), global attention in the "general" form under
any pairwise energy, without input feeding, so that all steps of the decoder are one call of its kernel:

    c_t = sum_s softmax_s(-energy(W_q h_t, m_s) / sqrt(D)) m_s          tanh(W_c [c_t; h_t]) is exposed
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seqstate.core import registry
from seqstate.core.energy import Energy
from seqstate.core.spec import parse


class SourcePick(nn.Module):
    """energy: what picks, such as `inner`. Raises ValueError for one that scores words only."""

    def __init__(self, width: int, energy: str) -> None:
        super().__init__()
        if not issubclass(registry.find("energies", parse(energy).name), Energy):
            raise ValueError(
                f"energy {energy!r} scores words only; attention needs one that scores pairs, "
                "such as 'inner' or 'multi_hamming', or attention='none'"
            )
        self.energy = registry.build("energies", energy, width=width)
        self.query = nn.Linear(width, width, bias=False)
        self.join = nn.Linear(2 * width, width)

    def weights(
        self,
        hidden: Float[Tensor, "B T D"],
        source: Float[Tensor, "B S D"],
        visible: Bool[Tensor, "*_ S"],
    ) -> Float[Tensor, "B T S"]:
        """What each step picks of the source; rows sum to 1, to 0 where nothing is visible."""
        scores = self.energy(self.query(hidden), source) * (-1 / math.sqrt(source.shape[-1]))
        # not -inf: a row that sees nothing would be 0 / 0
        hidden_away = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        return hidden_away.softmax(-1) * visible

    def forward(
        self,
        hidden: Float[Tensor, "B T D"],
        source: Float[Tensor, "B S D"],
        visible: Bool[Tensor, "*_ S"],
    ) -> Float[Tensor, "B T D"]:
        """Each step's vector joined with what it picks; an empty source gives zeros to pick."""
        if source.shape[1]:
            context = self.weights(hidden, source, visible) @ source
        else:
            context = torch.zeros_like(hidden)
        return self.join(torch.cat([context, hidden], -1)).tanh()


def newest(
    seen: Float[Tensor, "B S D"], time: int, window: int, count: Int[Tensor, " B"]
) -> Float[Tensor, "B S2 D"]:
    """The newest `window` vectors of each row, the last of them in the last slot.

    The last `time` slots are new, and of these row b has read the first count[b].
    """
    total = seen.shape[1]
    slots = torch.arange(max(0, total - window) - time, total - time, device=seen.device)
    # what lies before a row's first vector is counted as empty: any slot will do
    index = (slots + count[:, None]).clamp(min=0)
    return seen.gather(1, index[..., None].expand(-1, -1, seen.shape[2]))


def filled(slots: int, read: Int[Tensor, " B"]) -> Bool[Tensor, "B 1 S"]:
    """Which slots hold something of this source, if so much of it was read."""
    return torch.arange(slots, device=read.device) >= (slots - read)[:, None, None]


def sight(time: int, window: int, slots: int, read: Int[Tensor, " B"]) -> Bool[Tensor, "B T S"]:
    """Which slots each of the last `time` sees of the newest `window` up to itself."""
    ends = torch.arange(slots - time, slots, device=read.device)
    distance = ends[:, None] - torch.arange(slots, device=read.device)
    return (distance >= 0) & (distance < window) & filled(slots, read)
