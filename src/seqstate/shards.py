"""Checkpoints of several ranks: each writes what it holds, any number of ranks reads it.

torch.distributed.checkpoint does the planning, in its safetensors format: where a shard lies in its tensor is
JSON in the file's header, so that nothing is pickled on disk (torch's default format keeps a pickle there).

    checkpoint.shards/000000000120/shard-00001-....safetensors, ..., numbers.json
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, zeros

from seqstate import checkpoint
from seqstate.core.record import write_json

CARRIED, OWN = "carried.", "own rank "  # what names begin with


def write(
    folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any], mesh: DeviceMesh
) -> None:
    """Write a checkpoint, all ranks together; a crash of any leaves the former one or this one.

    Plain tensors are equal on all ranks and written once, but for carried states: those are of each rank's
    rows. Raises OSError in one line.
    """
    stored = {name: part for name, part in tensors.items() if not name.startswith(CARRIED)}
    stored |= _of_all_rows({n: part for n, part in tensors.items() if n.startswith(CARRIED)}, mesh)
    numbers = {**numbers, "ranks": mesh.size()}
    root = folder / checkpoint.SHARDS
    unfinished, whole = root / f".{numbers['step']:012d}", root / f"{numbers['step']:012d}"
    if dist.get_rank() == 0:
        for left in root.glob(".*"):
            shutil.rmtree(left)
        unfinished.mkdir(parents=True)
        write_json(unfinished / checkpoint.NUMBERS, numbers)
    dist.barrier()
    try:
        dcp.save(
            stored, storage_writer=HuggingFaceStorageWriter(str(unfinished), save_distributed=True)
        )
    except CheckpointException as error:
        raise OSError(f"cannot write a checkpoint: {_reason(error)}") from None
    if dist.get_rank() == 0:
        unfinished.rename(whole)
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        for former in root.glob("[0-9]*"):
            if former != whole:
                shutil.rmtree(former)


def read(place: Path, model: nn.Module, mesh: DeviceMesh) -> dict[str, Tensor]:
    """The tensors of a checkpoint of any number of ranks, as this rank holds them, all ranks together.

    Raises ValueError, in one line, if carried states cannot be cut for this number of ranks.
    """
    reader = _reader(place)
    known = _known(reader, place, mesh.get_local_rank(), mesh.size())
    weights, wanted = checkpoint.weights(model), {}
    for name, stored in known.items():
        kind, _, rest = name.partition(".")
        size, dtype = stored.size, stored.properties.dtype
        if kind == "carried":
            wanted[name] = zeros(size, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])
        elif name.startswith(OWN):
            wanted[name] = torch.zeros(size, dtype=dtype)
        elif kind in ("model", "best") and rest in weights:
            wanted[name] = torch.zeros_like(weights[rest])
        elif kind == "optimiser":
            parameter, _, moment = rest.rpartition(".")
            like = weights.get(parameter) if moment != "step" else None
            wanted[name] = (
                torch.zeros(size, dtype=dtype) if like is None else torch.zeros_like(like)
            )
    dcp.load(wanted, storage_reader=reader)
    return _mine(wanted)


def read_whole(place: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of any number of ranks, in one process. Raises ValueError as `read`."""
    reader = _reader(place)
    wanted = {
        name: torch.zeros(stored.size, dtype=stored.properties.dtype)
        for name, stored in _known(reader, place, 0, 1).items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # that is meant
        dcp.load(wanted, storage_reader=reader, no_dist=True)
    return _mine(wanted)


def _of_all_rows(mine: dict[str, Tensor], mesh: DeviceMesh) -> dict[str, Tensor]:
    """Carried states, a rank's rows each, as tensors of all rows.

    States whose size depends on what was read (a grammar's open sentence) may differ between ranks; then each
    rank keeps its own, under its own name.
    """
    mine = {name: part.detach().contiguous() for name, part in mine.items()}
    sizes: list[Any] = [None] * mesh.size()
    dist.all_gather_object(sizes, {name: tuple(part.shape) for name, part in mine.items()})
    if any(other != sizes[0] for other in sizes):
        return {f"{OWN}{mesh.get_local_rank()}.{name}": part for name, part in mine.items()}
    return {name: DTensor.from_local(part, mesh, [Shard(0)]) for name, part in mine.items()}


def _known(
    reader: HuggingFaceStorageReader, place: Path, rank: int, world: int
) -> dict[str, TensorStorageMetadata]:
    """What a checkpoint holds for this rank."""
    known: dict[str, Any] = reader.read_metadata().state_dict_metadata
    wrote = checkpoint.numbers_of(place).get("ranks", 1)
    if wrote != world and any(name.startswith(OWN) for name in known):
        raise ValueError(
            f"{place} carries states of {wrote} ranks that differ in size, as a grammar's open sentences do, "
            f"so {world} cannot go on with them; resume with {wrote}"
        )
    own = f"{OWN}{rank}."
    return {name: one for name, one in known.items() if name.startswith(own) or OWN not in name}


def _mine(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Carried states as this rank's rows, by their usual names."""
    mine = {}
    for name, tensor in found.items():
        if CARRIED in name:
            name = name[name.index(CARRIED) :]
            tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        mine[name] = tensor
    return mine


def _reason(error: CheckpointException) -> str:
    return "; ".join(str(failure[0]) for failure in error.failures.values())


class _OneFile(FileSystem):
    """A folder of which one file is read."""

    def ls(self, path: Any) -> list[str]:
        return [str(path)]


def _reader(place: Path) -> HuggingFaceStorageReader:
    reader = HuggingFaceStorageReader(str(place))
    if not place.is_dir():  # one process wrote it
        reader.fs = _OneFile()
    return reader
