"""Processes that torchrun started become ranks: how they meet, who speaks, what is said of a lost one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from seqstate import checkpoint
from seqstate.distributed import Replicated, Several, Sharded
from seqstate.errors import Diverged, Interrupted

# ranks wait while one prepares a long text; a dead one is noticed at once
PATIENCE = timedelta(hours=2)
GROUPS = {group.kind: group for group in (Replicated, Sharded)}


@contextmanager
def joined_group(kind: str, folder: Path) -> Iterator[Several]:
    """The ranks of the process group that the environment describes (see ranks.joined)."""
    _start()
    try:
        with _first_tells(dist.get_rank()):
            yield GROUPS[kind]()
    except (KeyboardInterrupt, SystemExit):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun sends it once more
        raise
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        _tell_loss(folder)
        sys.exit(1)
    finally:
        dist.destroy_process_group()


def _start() -> None:
    """Untested on graphics cards."""
    backend = "gloo"
    if torch.cuda.is_available():
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"{local + 1} ranks on a machine with {torch.cuda.device_count()} graphics cards; "
                "give --nproc_per_node that many"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)


@contextmanager
def _first_tells(rank: int) -> Iterator[None]:
    """Only the first rank prints. What ends the others quietly is what all know."""
    if rank == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            sys.exit(130)
        except Diverged:
            sys.exit(1)
        except ValueError:
            sys.exit(2)


def _is_loss(error: RuntimeError) -> bool:
    """Whether an error is about another rank that is gone."""
    about = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in about or "by peer" in about


def _tell_loss(folder: Path) -> None:
    place = checkpoint.latest(folder)
    step = checkpoint.numbers_of(place)["step"] if place else 0
    print(
        f"seqstate: rank {dist.get_rank()}: another rank has ended (killed, or out of memory?), so the run "
        f"stops; the same command with --resume goes on after step {step}",
        file=sys.stderr,
        flush=True,
    )
