"""down(relu(up x)^2) after a layer normalisation: what follows a token mixer in a stack.

Squared ReLU: So et al. 2021 (https://arxiv.org/abs/2109.08668).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class MLP(nn.Module):
    """Normalisation and two matrices without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = self.up(self.norm(x))
        return self.down(_SquaredReLU.apply(x) if torch.is_grad_enabled() else x.relu_().square_())


class _SquaredReLU(torch.autograd.Function):
    """relu(x)^2 that keeps relu(x) alone: composed, torch stores and reads twice as much."""

    @staticmethod
    def forward(ctx, x):
        positive = (
            x.detach().relu_()
        )  # nobody else reads x, and its making does not need it going back
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        # 2 grad relu(x) in one pass over memory
        return torch.addcmul(grad.new_zeros(()), grad, ctx.saved_tensors[0], value=2)
