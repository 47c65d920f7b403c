"""TensorBoard beside a training: the numbers of metrics.jsonl as curves, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

EVERY_SECONDS = 1.0  # of training, between two points of the training loss


def check() -> None:
    """Raise ValueError if tensorboard is not installed, before any work is done."""
    if find_spec("tensorboard") is None:
        raise ValueError("tensorboard is not installed; pip install 'seqstate[log]'")


@contextmanager
def logging_to(folder: str | None, watch: Callable) -> Iterator[Callable]:
    """`watch` again, but the progress it is told goes into TensorBoard's event files too (None: just watch).

    After a resume, points that the lost steps had written are hidden.
    """
    if folder is None:
        yield watch
        return
    from torch.utils.tensorboard import SummaryWriter

    writer, valid, said = None, None, -EVERY_SECONDS

    def both(progress) -> None:
        nonlocal writer, valid, said
        watch(progress)
        if writer is None:
            writer = SummaryWriter(folder, purge_step=progress.step)
        if progress.wall_seconds - said >= EVERY_SECONDS or progress.share >= 1:
            said = progress.wall_seconds
            writer.add_scalar("train/nats_per_token", progress.train_nats, progress.step)
            writer.add_scalar("train/learning_rate", progress.learning_rate, progress.step)
            rate = progress.tokens / max(progress.wall_seconds, 1e-9)
            writer.add_scalar("train/tokens_per_second", rate, progress.step)
        if progress.valid_nats is not None and progress.valid_nats != valid:
            valid = progress.valid_nats
            writer.add_scalar("valid/nats_per_token", valid, progress.step)

    try:
        yield both
    finally:
        if writer is not None:
            writer.close()
