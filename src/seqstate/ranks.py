"""What the training loop asks of its ranks: the processes that train one model together, or the one alone.

`Alone` is here; ranks that share a model are in seqstate.distributed, which is imported only for them.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqstate import checkpoint
from seqstate.core.record import RunConfig

KINDS = ("ddp", "fsdp")  # every rank holds all weights, or stores a share of them
Ids = NDArray[Any]


class Ranks(ABC):
    """Rank `rank` of `world`. Each reads its rows of every batch; the gradient is that of the whole batch."""

    rank: int
    world: int
    stops: tuple[signal.Signals, ...]  # after these a run saves what it has and ends

    @property
    def first(self) -> bool:
        """Whether this rank writes and tells what all know."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """What part of a validation is this rank's (see material.Check)."""
        return self.rank, self.world

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What a record says of them; nothing of a process alone."""

    @abstractmethod
    def check(self, config: RunConfig, texts: list[str]) -> None:
        """Raise ValueError, in one line, for a training that cannot be shared."""

    @abstractmethod
    def alike(self, key: str) -> None:
        """Raise ValueError if the ranks do not train the same model on the same text."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """Whatever a rank refuses inside (ValueError, OSError), all refuse."""

    @abstractmethod
    def in_turn(self) -> AbstractContextManager[None]:
        """The first rank of every machine goes ahead: it does what the others then find done."""

    @abstractmethod
    def wrap(self, model: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
        """Make the model trainable by all; returns its `nll` for training, to be used in training."""

    @abstractmethod
    def unwrap(self, model: nn.Module) -> None:
        """Give the model back as a plain one with all its weights."""

    @abstractmethod
    def whole(self) -> AbstractContextManager[None]:
        """Inside, the wrapped model can be read like any other."""

    @abstractmethod
    def adding(self, last: bool) -> AbstractContextManager[None]:
        """Around each part of a step: gradients are shared in the last one only."""

    @abstractmethod
    def mine(self, tokens: Ids, targets: Ids) -> tuple[Ids, Ids]:
        """This rank's rows of a batch."""

    @abstractmethod
    def clip(self, parameters: list[nn.Parameter], most: float) -> Tensor:
        """Scale the gradients down to a norm of at most `most`; returns the norm they had."""

    @abstractmethod
    def settled(self, cpu: float, wall: float, loss: Tensor) -> tuple[float, float, Tensor]:
        """A step's processor seconds, seconds and loss, of all ranks."""

    @abstractmethod
    def sum(self, value: float) -> float:
        """Over all ranks, the same to the bit on each."""

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""

    @abstractmethod
    def seed(self, seed: int, step: int) -> None:
        """Before a step: what it draws."""

    @abstractmethod
    def save(self, folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Write a checkpoint; a crash leaves the former one or this one."""

    @abstractmethod
    def load(self, place: Path, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of a checkpoint, cut as this rank holds them."""


class Alone(Ranks):
    """One process that holds everything."""

    rank, world = 0, 1
    stops = (signal.SIGINT,)

    def described(self) -> dict[str, Any]:
        return {}

    def check(self, config: RunConfig, texts: list[str]) -> None:
        pass

    def alike(self, key: str) -> None:
        pass

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def in_turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def wrap(self, model: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
        return model.nll

    def unwrap(self, model: nn.Module) -> None:
        pass

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    def adding(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def mine(self, tokens: Ids, targets: Ids) -> tuple[Ids, Ids]:
        return tokens, targets

    def clip(self, parameters: list[nn.Parameter], most: float) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(parameters, most)

    def settled(self, cpu: float, wall: float, loss: Tensor) -> tuple[float, float, Tensor]:
        return cpu, wall, loss

    def sum(self, value: float) -> float:
        return value

    def any(self, flag: bool) -> bool:
        return flag

    def seed(self, seed: int, step: int) -> None:
        pass  # one stream of random numbers from start to end

    def save(self, folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        checkpoint.write(folder, tensors | checkpoint.random_states(), numbers)

    def load(self, place: Path, model: nn.Module) -> dict[str, Tensor]:
        if not place.is_dir():
            return checkpoint.read(place)
        from seqstate.shards import read_whole

        torch.manual_seed(
            checkpoint.numbers_of(place)["step"]
        )  # ranks keep no stream to go on with
        return read_whole(place)


@contextmanager
def joined(kind: str, folder: Path) -> Iterator[Ranks]:
    """The ranks that torchrun (or what sets its variables) started this process among.

    kind: of KINDS. folder: where the run's checkpoints are, for what is said when a rank is lost.
    Raises ValueError for fsdp in a process that was started alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from seqstate.launched import joined_group

        with joined_group(kind, folder) as ranks:
            yield ranks
        return
    if kind == "fsdp" and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "--parallel fsdp shares a model among processes, and this is one; start several: "
            "torchrun --standalone --nproc_per_node 2 -m seqstate train ..."
        )
    yield Alone()
