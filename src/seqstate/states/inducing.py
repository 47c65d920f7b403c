"""Inducing points: learnt queries pool the prefix into a few slots; tokens attend to those.

Per head and slot m with learnt query p_m:

    held_t,m = sum_{s<=t} exp<p_m, k_s> (k_s, v_s) / sum_{s<=t} exp<p_m, k_s>
    out_t    = sum_m softmax_m(<q_t, key of held_t,m>) value of held_t,m

The causal block of the Set Transformer (Lee et al. 2019, https://arxiv.org/abs/1810.00825), whose inducing
points read every prefix, is attention with bounded-memory control (Peng et al. 2022,
https://arxiv.org/abs/2110.02488): an exact recurrence on the slots and the sums they are divided by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.states._mixer import Mixer, Shape, Tokens, at_least_one
from seqstate.states._mixer_stack import MixerStack
from seqstate.states._slot_memory import Weights, cut
from seqstate.states._slot_mix import slot_mix
from seqstate.states._slot_steps import slot_steps, steps_fit

SHARPEST = (
    30.0  # most nats between two tokens of opposite keys and none: exp stays in range of float32
)


class Inducing(MixerStack):
    """slots: learnt queries per head. convolution: inputs a token sees before it is projected.

    dropout: after each sublayer. State per layer: `held` [B, H, S, 2K], keys beside values, and
    `mass` [B, H, S], the sums of weights.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        slots: int = 16,
        convolution: int = 4,
        dropout: float = 0.0,
    ) -> None:
        shape = Shape(width, layers, heads, convolution, dropout)
        super().__init__(shape, lambda: PooledSlots(shape, at_least_one("slots", slots)))


class PooledSlots(Mixer):
    """Slots that are means of the prefix, each weighed by its own query."""

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__()
        self.heads, self.slots, self.size = shape.heads, slots, shape.head_width
        self.queries = nn.Parameter(torch.randn(shape.heads, slots, self.size))
        self.log_sharpness = nn.Parameter(
            torch.full((shape.heads,), 0.5 * math.log(shape.head_width))
        )

    def init_state(self, batch_size: int) -> dict[str, Tensor]:
        held = self.queries.new_zeros(batch_size, self.heads, self.slots, 2 * self.size)
        return {"held": held, "mass": held[..., 0].clone()}

    def forward(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        weight, held = self._weigh(tokens), state["held"]
        if steps_fit(tokens, held):
            sums = weight.cumsum(1) + state["mass"].unsqueeze(1)
            mixed, held = slot_steps(tokens, weight / sums, held)
            return mixed, {"held": held, "mass": sums[:, -1]}
        write = cut(weight)
        # P B H L S: sums over a piece, on top of the sums over those before it
        sums = write.cumsum(3)
        carried = torch.cat([state["mass"].unsqueeze(0), sums[:, :, :, -1]]).cumsum(0)
        sums = sums + carried[:-1].unsqueeze(3)
        weights = Weights(sums.reciprocal(), write, carried[:-1])
        mixed, held = slot_mix(tokens, weights, held)
        return mixed, {"held": held, "mass": carried[-1]}

    def _weigh(self, tokens: Tokens) -> Tensor:
        """exp(sharpness * cosine) of every token for every slot, [B, T, H, S]; 0 on padding."""
        sharpness = self.log_sharpness.exp().clamp(max=SHARPEST) / math.sqrt(self.size)
        aim = F.normalize(self.queries, dim=-1) * sharpness[:, None, None]
        weight = torch.einsum("bthk,hsk->bths", tokens.key, aim).exp()
        return weight if tokens.real is None else weight * tokens.real[:, :, None, None]
