"""Slots that forget: a gate per token, head and slot decides what is kept and what is written.

held_t = (1 - w_t) held_{t-1} + w_t (k_t, v_t), with w_t = 7/8 sigmoid(linear of the input). A slot keeps an
eighth of itself at least, so that 32 tokens multiply it by no less than e^-67: the factors the slots are
computed by (see `_slot_memory`) then stay in range of float32.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqstate.states._mixer import Shape, Tokens
from seqstate.states._slot_memory import Weights, cut

MOST = 7 / 8  # of a slot is replaced by one token
LONGEST = 1024  # tokens: half-life the most patient slot starts with; the hastiest starts with 1


class Forgetting(nn.Module):
    """The gates of S slots a head; what they hold is `held` [B, H, S, 2K], keys beside values."""

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__()
        self.heads, self.slots, self.size = shape.heads, slots, shape.head_width
        self.gate = nn.Linear(shape.width, shape.heads * slots)
        with torch.no_grad():
            half_lives = torch.logspace(0, math.log2(LONGEST), slots, base=2.0)
            written = 1 - 0.5 ** (1 / half_lives)
            self.gate.bias.copy_(torch.logit(written / MOST).repeat(shape.heads))

    def start(self, batch_size: int) -> Float[Tensor, "B H S K2"]:
        """Slots that hold nothing."""
        return self.gate.weight.new_zeros(batch_size, self.heads, self.slots, 2 * self.size)

    def gates(self, inputs: Float[Tensor, "B T D"]) -> Float[Tensor, "B T H S"]:
        """sigmoid of every slot's gate: 1 writes the most, 0 nothing."""
        return self.gate(inputs).sigmoid().unflatten(-1, (self.heads, self.slots))

    def writes(self, tokens: Tokens) -> Float[Tensor, "B T H S"]:
        """How much of every slot a token replaces; padding replaces nothing."""
        write = MOST * self.gates(tokens.input)
        return write if tokens.real is None else write * tokens.real[:, :, None, None]

    def weights(self, tokens: Tokens) -> Weights:
        """How much every token and the past count in every slot; padding writes nothing."""
        given = self.gate(tokens.input).to(tokens.key.dtype).unflatten(-1, (self.heads, -1))
        if tokens.real is not None:
            given = given.masked_fill(~tokens.real[:, :, None, None], -torch.inf)
        return Weights(*_Factors.apply(cut(given, -torch.inf)), None)


class _Factors(torch.autograd.Function):
    """From what a gate squashes to (kept since the piece began, written / kept)."""

    @staticmethod
    def forward(ctx, given):
        write = given.sigmoid().mul_(MOST)
        kept, exporting = 1 - write, torch.compiler.is_exporting()
        # ONNX has sums along an axis, but no products
        kept = kept.log().cumsum(3).exp() if exporting else kept.cumprod(3)
        factor = write / kept
        ctx.save_for_backward(write, kept, factor)
        return kept, factor

    @staticmethod
    @once_differentiable
    def backward(ctx, to_kept, to_factor):
        write, kept, factor = ctx.saved_tensors
        along = (to_kept * kept).addcmul_(to_factor, factor, value=-1)  # to log kept
        later = along.sum(3, keepdim=True) - along.cumsum(3) + along
        to_write = (to_factor / kept).sub_(later.div_(1 - write))
        return to_write.mul_(write).mul_(1 - write / MOST)
