"""The state a model carries: a tree of tensors whose axis 0 is the batch.

A tree is a tensor, or a tuple or dict of trees. Its bytes are what the model remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

# parts are states again; `Any`, as a run-time shape check cannot follow a type into itself
State: TypeAlias = Tensor | tuple[Any, ...] | dict[str, Any]


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply `function` to every leaf."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: map_state(function, part) for key, part in state.items()}
    return tuple(map_state(function, part) for part in state)


def leaves(state: State) -> Iterator[Tensor]:
    """All tensors of a state, in a fixed order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for part in state.values():
            yield from leaves(part)
    else:
        for part in state:
            yield from leaves(part)


def detach(state: State) -> State:
    """Cut the gradient, as truncated back-propagation does between windows."""
    return map_state(torch.Tensor.detach, state)


def select_rows(state: State, rows: Int[Tensor, " R"]) -> State:
    """The states of these batch rows, in this order (beam search, batch filtering)."""
    return map_state(lambda leaf: leaf.index_select(0, rows.to(leaf.device)), state)


def state_bytes(state: State) -> int:
    """Bytes of one batch row of a state: what the model carries per sequence."""
    return sum(leaf[:1].numel() * leaf.element_size() for leaf in leaves(state))
