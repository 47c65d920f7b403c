"""The caches of transformers as states: trees of tensors whose axis 0 is the batch, and back again.

A state holds `read` [B], the tokens each row has read; `seen` [B, S], which slots of the keys are filled
(rows that have read less begin with empty ones); and what the layers keep.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from seqstate.core.state import State, select_rows
from seqstate.trained import MODEL_TYPE


class Keeper(ABC):
    """How one kind of model takes its state and gives it back. grows: with the text, or of one size."""

    grows: bool

    @abstractmethod
    def ask(self, model: Any, tokens: Tensor, state: Any) -> Any:
        """The model's answer, its state on it."""

    @abstractmethod
    def layers(self, answer: Any) -> State:
        """What the layers keep after an answer."""

    def start(self, rows: int, device: torch.device) -> dict[str, Any]:
        """The state before anything is read."""
        read = torch.zeros(rows, dtype=torch.int64, device=device)
        seen = torch.zeros(rows, 0, dtype=torch.bool, device=device)
        return {"read": read, "seen": seen, "layers": ()}

    def after(self, answer: Any, state: Any, tokens: Tensor) -> State:
        """The state after an answer to tokens [B, T] that was asked from `state`."""
        rows, time = tokens.shape
        before = self.start(rows, tokens.device) if state is None else state
        new = torch.ones(rows, time if self.grows else 0, dtype=torch.bool, device=tokens.device)
        return {
            "read": before["read"] + time,
            "seen": torch.cat([before["seen"], new], 1),
            "layers": self.layers(answer),
        }


class CacheKeeper(Keeper):
    """Models that take a transformers cache, of keys and values, of recurrent states, or of both."""

    def __init__(self, config: Any, name: str) -> None:
        self.config, self.name = config, name
        layers = self._empty().layers  # none: they are made as keys and values come
        self.grows = not layers or not all(_recurrent(layer) for layer in layers)

    def _empty(self) -> DynamicCache:
        cache = DynamicCache(config=self.config)
        # a window is kept by the mask: with all keys there, a state can be cut and joined
        return DynamicCache() if any(cache.is_sliding) and not _any_recurrent(cache) else cache

    def ask(self, model: Any, tokens: Tensor, state: Any) -> Any:
        cache = self._empty()
        for index, kept in enumerate(state["layers"]):
            _restore(cache, index, kept)
        given = {"input_ids": tokens, "use_cache": True, self.name: cache}
        takes = inspect.signature(model.forward).parameters
        rows, time = tokens.shape
        if self.grows and bool((~state["seen"]).any()):
            new = torch.ones(rows, time, dtype=torch.bool, device=tokens.device)
            given["attention_mask"] = torch.cat([state["seen"], new], 1).long()
        if self.grows and "position_ids" in takes:
            given["position_ids"] = state["read"][:, None] + torch.arange(
                time, device=tokens.device
            )
        return model(**given)

    def layers(self, answer: Any) -> State:
        return tuple(_kept(layer) for layer in getattr(answer, self.name).layers)


class ListKeeper(Keeper):
    """Models that take a list of tensors called `state` (RWKV)."""

    grows = False

    def ask(self, model: Any, tokens: Tensor, state: Any) -> Any:
        if tokens.shape[1] > 1 or tokens.shape[0] == 1:
            # the model writes into what it is given
            kept = [leaf.clone() for leaf in state["layers"]] or None
            return model(input_ids=tokens, state=kept, use_cache=True)
        # transformers 5.23 mixes up the rows of a batch that reads one token: row by row
        rows = torch.arange(len(tokens), device=tokens.device).split(1)
        answers = [self.ask(model, tokens[row], select_rows(state, row)) for row in rows]
        found = {
            name: torch.cat([answer[name] for answer in answers])
            for name in ("logits", "last_hidden_state")
            if name in answers[0]
        }
        kept = [torch.cat(leaves) for leaves in zip(*[a.state for a in answers], strict=True)]
        return SimpleNamespace(**found, state=kept)

    def layers(self, answer: Any) -> State:
        return tuple(answer.state)


def keeper_of(model: Any) -> Keeper:
    """How this model keeps its state. Raises ValueError for a model whose state cannot be held."""
    takes = inspect.signature(model.forward).parameters
    if model.config.model_type == MODEL_TYPE:
        raise ValueError("this is a model of ours already; use seqstate.load, or leave out hf:")
    if model.config.is_encoder_decoder or not model.can_generate():
        kind = "has an encoder" if model.config.is_encoder_decoder else "does not generate text"
        raise ValueError(f"{type(model).__name__} {kind}; give a causal language model")
    for name in ("past_key_values", "cache_params"):
        if name in takes:
            return CacheKeeper(model.config.get_text_config(), name)
    if "state" in takes:
        return ListKeeper()
    raise ValueError(
        f"{type(model).__name__} keeps its state inside itself or not at all; "
        "give a causal language model that takes its cache as an argument"
    )


def merged(states: list[Any]) -> State:
    """Rows of several states in one; keys that fewer tokens left are widened by empty slots in front."""
    widest = max(state["seen"].shape[1] for state in states)
    wide = [_widened(state, widest - state["seen"].shape[1]) for state in states]
    return _joined(wide)


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    return tuple(_joined(list(group)) for group in zip(*parts, strict=True))


def _widened(state: Any, slots: int) -> Any:
    if not slots:
        return state
    layers = tuple(
        {
            name: nn.functional.pad(leaf, (0, 0, slots, 0)) if name in ("keys", "values") else leaf
            for name, leaf in layer.items()
        }
        for layer in state["layers"]
    )
    seen = nn.functional.pad(state["seen"], (slots, 0))
    return {"read": state["read"], "seen": seen, "layers": layers}


def _recurrent(layer: Any) -> bool:
    return hasattr(layer, "recurrent_states")


def _any_recurrent(cache: DynamicCache) -> bool:
    return any(_recurrent(layer) for layer in cache.layers)


def _kept(layer: Any) -> dict[str, Tensor]:
    """The tensors of one layer by name; nothing else is needed to go on."""
    found = {name: getattr(layer, name, None) for name in ("keys", "values")}
    for kind in ("conv_states", "recurrent_states"):
        for index, tensor in getattr(layer, kind, {}).items():
            found[f"{kind}.{index}"] = tensor
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def _restore(cache: DynamicCache, index: int, kept: dict[str, Tensor]) -> None:
    if "keys" in kept:
        cache.update(kept["keys"], kept["values"], index)
    for name, tensor in kept.items():
        kind, _, number = name.partition(".")
        if kind == "conv_states":
            cache.update_conv_state(tensor, index, state_idx=int(number))
        if kind == "recurrent_states":
            cache.update_recurrent_state(tensor, index, state_idx=int(number))
