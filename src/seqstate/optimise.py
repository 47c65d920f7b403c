"""The optimiser and its schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from seqstate.core.record import RunConfig


def adamw(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); weight decay on matrices, not on biases, gains and scales."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() >= 2]
    vectors = [parameter for parameter in trained if parameter.dim() == 1]
    # apart, as ranks that share the others in shards have these whole: a fused step takes one kind
    numbers = [parameter for parameter in trained if parameter.dim() == 0]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
        {"params": numbers, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def learning_rate(config: RunConfig, progress: float) -> float:
    """Linear warm-up, then a cosine down to `min_lr` of the peak. progress: share done, in [0, 1]."""
    if progress < config.warmup:
        return config.lr * max(progress / config.warmup, 1e-3)
    share = min(1.0, (progress - config.warmup) / max(1e-9, 1 - config.warmup))
    return config.lr * (config.min_lr + (1 - config.min_lr) * 0.5 * (1 + math.cos(math.pi * share)))
