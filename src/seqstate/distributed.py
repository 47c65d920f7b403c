"""Ranks that train one model together: DDP or FSDP2, gloo between processors and nccl between graphics cards.

    torchrun --standalone --nproc_per_node 2 -m seqstate train book.txt --out model

Every rank takes its rows of the batch that one process would read, weighed so that the gradient is that of
the whole batch: the losses are those of one process, to rounding. What is drawn at random (dropout) is drawn
anew for every step and rank, so that a checkpoint needs no random states.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from seqstate.core import registry
from seqstate.core.model import IGNORE, Counted
from seqstate.core.record import RunConfig
from seqstate.core.spec import parse
from seqstate.core.state import detach
from seqstate.ranks import Ids, Ranks


class Several(Ranks):
    """What DDP and FSDP have in common. Small numbers go through gloo, wherever the model is."""

    stops = (signal.SIGINT, signal.SIGTERM)  # torchrun passes on what it gets
    kind: str
    inside: _Step  # what is wrapped

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (self.world,))

    def described(self) -> dict[str, Any]:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        return {"ranks": self.world, "parallel": self.kind, "backend": backend}

    def check(self, config: RunConfig, texts: list[str]) -> None:
        if issubclass(registry.find("states", parse(config.state).name), Counted):
            raise ValueError(
                f"{config.state} counts the text once: there is nothing to share; leave torchrun out"
            )
        if config.batch_size % self.world:
            raise ValueError(
                f"--batch-size {config.batch_size} is not a multiple of the {self.world} ranks that share it"
            )
        if "-" in texts:
            raise ValueError("several ranks cannot read one standard input; name a file")

    def alike(self, key: str) -> None:
        told: list[Any] = [None] * self.world
        dist.all_gather_object(told, key)
        if any(other != key for other in told):
            raise ValueError(
                "the ranks were given different texts or options; give all machines the same"
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        refusal = None
        try:
            yield
        except (ValueError, OSError) as error:
            refusal = error
        told: list[Any] = [None] * self.world
        dist.all_gather_object(told, None if refusal is None else str(refusal))
        if refusal is not None and self.first:
            raise refusal
        for rank, reason in enumerate(told):
            if reason is not None:
                raise ValueError(f"rank {rank}: {reason}")

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        ahead = os.environ.get("LOCAL_RANK", "0") == "0"
        if not ahead:
            dist.barrier()
        try:
            yield
        finally:
            if ahead:
                dist.barrier()

    def mine(self, tokens: Ids, targets: Ids) -> tuple[Ids, Ids]:
        """Equal shares; rows that nothing is asked of fill up what does not divide (pairs)."""
        if short := -len(tokens) % self.world:
            tokens = np.concatenate([tokens, tokens[-1:].repeat(short, 0)])
            nothing = np.full_like(targets[-1:], IGNORE).repeat(short, 0)
            targets = np.concatenate([targets, nothing])
        size = len(tokens) // self.world
        rows = slice(self.rank * size, (self.rank + 1) * size)
        return tokens[rows], targets[rows]

    def settled(self, cpu: float, wall: float, loss: Tensor) -> tuple[float, float, Tensor]:
        told = self._told([cpu, wall, loss.item()])
        cpu, mean = told[:, 0].sum(), told[:, 2].mean()
        return float(cpu), float(told[:, 1].max()), mean.to(loss)

    def sum(self, value: float) -> float:
        return float(self._told([value]).sum())

    def any(self, flag: bool) -> bool:
        return bool(self._told([float(flag)]).any())

    def _told(self, numbers: list[float]) -> Tensor:
        """The numbers of every rank, [world, n]; sums of them come out alike on all."""
        mine = torch.tensor(numbers, dtype=torch.float64)
        told = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(told, mine)
        return torch.stack(told)

    def drop_unused(self, parameters: list[nn.Parameter]) -> None:
        """A parameter that no rank used is left alone by the optimiser, as in one process (see _Step)."""
        used = torch.tensor([float(flag) for flag in self.inside.used])
        dist.all_reduce(used, dist.ReduceOp.MAX)
        for parameter, flag in zip(parameters, used.tolist(), strict=True):
            if not flag:
                parameter.grad = None
        self.inside.used = [False] * len(parameters)

    def seed(self, seed: int, step: int) -> None:
        sequence = np.random.SeedSequence([seed, step, self.rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def save(self, folder: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        from seqstate.shards import write

        write(folder, tensors, numbers, self.mesh)

    def load(self, place: Path, model: nn.Module) -> dict[str, Tensor]:
        from seqstate.shards import read

        return read(place, model, self.mesh)


class Replicated(Several):
    """Distributed data parallel: every rank holds all weights and moments, gradients are averaged."""

    kind = "ddp"

    def wrap(self, model: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
        self.inside = _Step(model)
        with warnings.catch_warnings():  # what should stand in its place is not in older versions
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            self.step = DistributedDataParallel(self.inside, broadcast_buffers=False)
        return self.step

    def unwrap(self, model: nn.Module) -> None:
        del self.step, self.inside

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()

    def adding(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self.step.no_sync()

    def clip(self, parameters: list[nn.Parameter], most: float) -> Tensor:
        self.drop_unused(parameters)
        return torch.nn.utils.clip_grad_norm_(parameters, most)


class Sharded(Several):
    """Fully sharded (FSDP2): every rank stores its share of weights, gradients, moments and best weights.

    For a step, and for a validation, all weights are gathered at once: a head is asked for its loss, not
    called, and a tied table belongs to two modules, so that no layer could gather its own.
    """

    kind = "fsdp"

    def wrap(self, model: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
        # single numbers cannot be cut: every rank keeps them, and `clip` averages their gradients
        single = {parameter for parameter in model.parameters() if parameter.dim() == 0}
        self.inside = self.step = fully_shard(_Step(model), mesh=self.mesh, ignored_params=single)
        return self.step

    @torch.no_grad()
    def unwrap(self, model: nn.Module) -> None:
        plain: dict[nn.Parameter, nn.Parameter] = {}  # a tied one is in two modules
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if isinstance(parameter, DTensor) and parameter not in plain:
                    whole = parameter.full_tensor()
                    plain[parameter] = nn.Parameter(whole, parameter.requires_grad)
                if parameter in plain:
                    setattr(module, name, plain[parameter])
        del self.step, self.inside

    @contextmanager
    def whole(self) -> Iterator[None]:
        self.step.unshard()
        try:
            yield
        finally:
            self.step.reshard()

    @contextmanager
    def adding(self, last: bool) -> Iterator[None]:
        self.step.set_requires_gradient_sync(last)
        yield

    @torch.no_grad()
    def clip(self, parameters: list[nn.Parameter], most: float) -> Tensor:
        for parameter in parameters:
            if not isinstance(parameter, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world
        self.drop_unused(parameters)
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = [gradient for gradient in found if not isinstance(gradient, DTensor)]
        shards = [gradient.to_local() for gradient in found if isinstance(gradient, DTensor)]
        square = torch.nn.utils.get_total_norm(shards).square()
        dist.all_reduce(square)
        norm = (square + torch.nn.utils.get_total_norm(whole).to(square).square()).sqrt()
        scale = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (*shards, *whole):
            gradient *= scale
        return norm


class _Step(nn.Module):
    """What DDP and FSDP see called: their work hangs on `forward`.

    Which parameters are used may depend on the rows (a start that is learnt, a separator), but all ranks must
    reduce the same gradients: every parameter has part in the loss, if only by a sum of no numbers. `used`
    says which have more, since the last step of the optimiser.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.used = [False] * len(self._trained())

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def forward(self, tokens: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        nats, after = self.model.nll(tokens, targets, state)
        trained, reached = self._trained(), _reached(nats)
        self.used = [
            before or parameter in reached
            for before, parameter in zip(self.used, trained, strict=True)
        ]
        taking_part = torch.stack([parameter.flatten()[:0].sum() for parameter in trained])
        # what only the state knows has no gradient to wait for
        return nats + taking_part.sum(), detach(after)


def _reached(result: Tensor) -> set[Tensor]:
    """The parameters a result was computed from."""
    seen, left = set(), [result.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
    return {node.variable for node in seen if node.name() == "torch::autograd::AccumulateGrad"}
