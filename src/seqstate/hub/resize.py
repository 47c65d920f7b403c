"""Another vocabulary size for a trained model: what is kept, and what new words start as."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqstate.core.model import Counted, LanguageModel, device_of
from seqstate.fusion import FusionConfig
from seqstate.trained import ModelConfig


def resized(
    old: LanguageModel, config: ModelConfig | FusionConfig, vocab_size: int, *, mean: bool
) -> LanguageModel:
    """A model of `config` for `vocab_size` words, with everything of `old` that both have.

    mean: new words get the mean of the old words' numbers, otherwise what a fresh model has. Raises
    ValueError for models that are counted or fused, or in which the vocabulary shapes more than tables.
    """
    if isinstance(config, FusionConfig) or isinstance(old, Counted):
        raise ValueError(
            "a counted or fused model has its vocabulary from its text; make it anew with another tokenizer"
        )
    config = dataclasses.replace(config, vocab_size=vocab_size)
    new = config.build()
    with torch.no_grad():
        before, after = old.state_dict(), new.state_dict()
        if before.keys() != after.keys():
            raise ValueError(
                f"{_name(config)} has other parts at {vocab_size} words; train it anew"
            )
        for name, tensor in after.items():
            _fill(tensor, before[name], old.vocab_size, config, name, mean)
    grads = {name: parameter.requires_grad for name, parameter in old.named_parameters()}
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(grads[name])
    dtype = next(old.parameters()).dtype
    return new.to(device_of(old), dtype).train(old.training)


def _fill(new: Tensor, old: Tensor, size: int, config: ModelConfig, name: str, mean: bool) -> None:
    if new.shape == old.shape:
        new.copy_(old)
        return
    pairs = list(zip(old.shape, new.shape, strict=False))
    axes = [axis for axis, (was, is_now) in enumerate(pairs) if was != is_now]
    whole = len(axes) == 1 and pairs[axes[0]] == (size, config.vocab_size)
    if old.ndim != new.ndim or not whole or not old.is_floating_point():
        raise ValueError(
            f"{_name(config)} cannot change its vocabulary: {name} is {list(old.shape)} at {size} words "
            f"and {list(new.shape)} at {config.vocab_size}"
        )
    axis, kept = axes[0], min(size, config.vocab_size)
    new.narrow(axis, 0, kept).copy_(old.narrow(axis, 0, kept))
    if mean and config.vocab_size > size:
        added = new.narrow(axis, size, config.vocab_size - size)
        added.copy_(old.mean(axis, keepdim=True).expand_as(added))


def _name(config: ModelConfig) -> str:
    return config.state + (f" + {config.energy}" if config.energy else "")
