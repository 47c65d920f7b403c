"""Gated slots: tokens are written into a few slots that forget, and attend to those.

Gated slot attention (Zhang et al. 2024, https://arxiv.org/abs/2409.07146), per head and slot m:

    held_t,m = (1 - w_t,m) held_{t-1,m} + w_t,m (k_t, v_t)
    out_t    = sum_m softmax_m(<q_t, key of held_t,m>) value of held_t,m

Where the paper takes the 8th root of a sigmoid to forget slowly, gates here start with half-lives from 1 to
1024 tokens across the slots, and write 7/8 at most.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from seqstate.core.model import HasGates
from seqstate.core.state import State
from seqstate.states._forgetting import Forgetting
from seqstate.states._mixer import Mixer, Shape, Tokens, at_least_one
from seqstate.states._mixer_stack import MixerStack
from seqstate.states._slot_mix import slot_mix
from seqstate.states._slot_steps import slot_steps, steps_fit


class GatedSlots(MixerStack, HasGates):
    """slots: per head. convolution: inputs a token sees before it is projected. dropout: after each sublayer.

    State per layer: `held` [B, H, S, 2K], keys beside values.
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
        super().__init__(shape, lambda: ForgetfulSlots(shape, at_least_one("slots", slots)))

    def gates(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> dict[str, Float[Tensor, "B T N H S"]]:
        """The `write` gate of every slot: 0 keeps all of it, 1 replaces 7/8."""
        gates = [mixer.slots.gates(tokens.input) for mixer, tokens, _ in self.walk(x, state)]
        return {"write": torch.stack(gates, 2)}


class ForgetfulSlots(Mixer):
    """Every token attends to slots that forget."""

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__()
        self.slots = Forgetting(shape, slots)

    def init_state(self, batch_size: int) -> dict[str, Tensor]:
        return {"held": self.slots.start(batch_size)}

    def forward(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        held = state["held"]
        if steps_fit(tokens, held):
            mixed, held = slot_steps(tokens, self.slots.writes(tokens), held)
        else:
            mixed, held = slot_mix(tokens, self.slots.weights(tokens), held)
        return mixed, {"held": held}
