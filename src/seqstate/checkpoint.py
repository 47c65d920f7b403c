"""Checkpoints: all a run needs to go on bit-equal, written atomically. No pickle anywhere.

One process writes one safetensors file, with the numbers (step, curve, times) as JSON in its header; several
write a folder of them each time (seqstate.shards), with numbers.json beside. Either is read by any number of
processes, as tensors have the same names:

    model.NAME                 weights, tied ones once        best.NAME    the best weights so far
    optimiser.PARAMETER.KIND   moments and step counts
    carried.PART.LEAF          states carried on, all rows of the batch
    random, random.cuda        of the generators; one process only
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from seqstate.core.record import write_atomic
from seqstate.core.state import State, leaves, map_state

NAME = "checkpoint.safetensors"
SHARDS = "checkpoint.shards"  # a folder for each checkpoint, named by its step
NUMBERS = "numbers.json"


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run: a file, or a folder of shards."""
    whole = [path for path in (folder / SHARDS).glob("[0-9]*") if (path / NUMBERS).exists()]
    whole += [folder / NAME] if (folder / NAME).exists() else []
    return max(whole, key=lambda place: numbers_of(place)["step"], default=None)


def numbers_of(place: Path) -> dict[str, Any]:
    """What is in a checkpoint beside tensors."""
    if place.is_dir():
        return json.loads((place / NUMBERS).read_text(encoding="utf-8"))
    with safe_open(place, framework="pt") as file:
        return json.loads(file.metadata()["numbers"])


def remove(folder: Path) -> None:
    """All checkpoints of a run."""
    (folder / NAME).unlink(missing_ok=True)
    shutil.rmtree(folder / SHARDS, ignore_errors=True)


def write(folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write one process's checkpoint; a crash leaves the former one or this one."""
    # tied weights may lie in one memory, which safetensors refuses; plain order, as a carried state may be
    # a transposed view
    plain = torch.contiguous_format
    stored = {
        name: part.detach().cpu().clone(memory_format=plain) for name, part in tensors.items()
    }
    write_atomic(folder / NAME, save(stored, metadata={"numbers": json.dumps(numbers)}))
    shutil.rmtree(folder / SHARDS, ignore_errors=True)


def read(place: Path) -> dict[str, Tensor]:
    """The tensors of a file."""
    with safe_open(place, framework="pt") as file:
        # inside a file a tensor lies at any address, and some kernels round by how it is aligned
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def random_states() -> dict[str, Tensor]:
    """Of the generators of this process."""
    states = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(tensors: dict[str, Tensor]) -> None:
    """Go on drawing where a checkpoint stopped; what several ranks wrote holds nothing of the kind."""
    if "random" in tensors:
        torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and saved buffers by name, shared ones once."""
    named: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        named.setdefault(id(tensor), (name, tensor.detach()))
    return dict(named.values())


@torch.no_grad()
def put(model: nn.Module, stored: dict[str, Tensor]) -> None:
    """Set what `weights` names. Raises ValueError if something is missing."""
    for name, tensor in weights(model).items():
        if name not in stored:
            raise ValueError(f"the checkpoint has no {name}: another version wrote it; start again")
        tensor.copy_(stored[name])


def tensors_of(
    model: nn.Module,
    best: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    carried: list[State | None],
) -> dict[str, Tensor]:
    """All of a training but its numbers and random states, by the names above."""
    found = {f"model.{name}": tensor for name, tensor in weights(model).items()}
    found |= {f"best.{name}": tensor for name, tensor in best.items()}
    for name, parameter in zip(_names(model, optimiser), _parameters(optimiser), strict=True):
        for kind, tensor in optimiser.state.get(parameter, {}).items():
            found[f"optimiser.{name}.{kind}"] = tensor
    for part, state in enumerate(carried):
        if state is not None:
            for index, leaf in enumerate(leaves(state)):
                found[f"carried.{part}.{index}"] = leaf
    return found


def restore(
    tensors: dict[str, Tensor],
    *,
    model: Any,
    optimiser: torch.optim.Optimizer,
    parts: int,
    rows: int,
) -> tuple[dict[str, Tensor], list[State | None]]:
    """Set model, optimiser and generators; return the best weights and what `parts` batches carry."""
    put(model, _under(tensors, "model."))
    place = {name: index for index, name in enumerate(_names(model, optimiser))}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        parameter, _, kind = name.rpartition(".")
        if parameter not in place:
            raise ValueError(f"the checkpoint knows {parameter}, which this model has not")
        moments.setdefault(place[parameter], {})[kind] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    carried = _carried(model, tensors, parts, rows)
    set_random_states(tensors)  # last: to make an empty state may draw
    return _under(tensors, "best."), carried


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _names(model: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """Of the optimiser's parameters, in its order."""
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    return [named[id(parameter)] for parameter in _parameters(optimiser)]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _carried(model: Any, tensors: dict[str, Tensor], parts: int, rows: int) -> list[State | None]:
    states: list[State | None] = []
    device = next(model.parameters()).device
    for part in range(parts):
        stored = _under(tensors, f"carried.{part}.")
        if not stored:
            states.append(None)
            continue
        ordered = iter([stored[str(index)].to(device) for index in range(len(stored))])
        states.append(map_state(lambda _, ordered=ordered: next(ordered), model.init_state(rows)))
    return states
