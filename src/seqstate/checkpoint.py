"""Checkpoints: one safetensors file, written atomically, that holds all a run needs to go on bit-equal.

Weights, the best weights so far, optimiser moments, the carried states, random states; the numbers (step,
curve, times) are JSON in the file's header. No pickle anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from seqstate.core.record import write_atomic
from seqstate.core.state import State, leaves, map_state

NAME = "checkpoint.safetensors"


def write(
    path: Path,
    *,
    model: nn.Module,
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    carried: list[State | None],
    numbers: dict[str, Any],
) -> None:
    """Write everything to `path`; a crash leaves the former checkpoint or this one."""
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, tensor in model.state_dict().items():
        tensors[f"model.{name}"] = tensor
    for name, tensor in best.items():
        tensors[f"best.{name}"] = tensor
    for index, moments in optimiser.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimiser.{index}.{name}"] = tensor
    for row, state in enumerate(carried):
        if state is not None:
            for index, leaf in enumerate(leaves(state)):
                tensors[f"carried.{row}.{index}"] = leaf
    # tied weights appear under two names; safetensors wants each on its own memory
    # and in plain order (a carried state may be a transposed view)
    plain = torch.contiguous_format
    stored = {
        name: part.detach().cpu().clone(memory_format=plain) for name, part in tensors.items()
    }
    write_atomic(path, save(stored, metadata={"numbers": json.dumps(numbers)}))


def read(
    path: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    carried: int,
    rows: int,
) -> tuple[dict[str, Any], dict[str, Tensor], list[State | None]]:
    """Restore model, optimiser and random states in place; return the numbers, best weights and states."""
    with safe_open(path, framework="pt") as file:
        numbers = json.loads(file.metadata()["numbers"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model.load_state_dict(_under(tensors, "model."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return numbers, _under(tensors, "best."), _carried(model, tensors, carried, rows)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _carried(model: Any, tensors: dict[str, Tensor], count: int, rows: int) -> list[State | None]:
    states: list[State | None] = []
    device = next(model.parameters()).device
    for row in range(count):
        stored = _under(tensors, f"carried.{row}.")
        if not stored:
            states.append(None)
            continue
        ordered = iter([stored[str(index)].to(device) for index in range(len(stored))])
        states.append(map_state(lambda _, ordered=ordered: next(ordered), model.init_state(rows)))
    return states
