"""Progress and results on a terminal; plain lines where there is none."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager


def console(*, stderr: bool = False):
    """A console for tables: as wide as the terminal; a pipe has no edge to wrap at."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = 240
    return found


def pairs(told: dict[str, str]):
    """Names and what there is to say of each, two columns."""
    from rich.table import Table

    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(no_wrap=True)
    shown.add_column()
    for name, text in told.items():
        shown.add_row(f"  {name}", text)
    return shown


def note(text: str) -> None:
    """A line about what is going on: on standard error, so that results can be piped."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def warning_lines():
    """Warnings as one line each, without their place in the code, while a command runs."""
    import warnings

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: note(
            f"seqstate: warning: {' '.join(str(message).split())}"
        )
        yield


def seconds(value: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    value = max(0, round(value))
    if value < 60:
        return f"{value} s"
    if value < 3600:
        return f"{value // 60} min {value % 60} s"
    return f"{value // 3600} h {value % 3600 // 60} min"


@contextmanager
def preparing():
    """A callback for long reading and tokenising: `(what, share or None)`."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        said: set[str] = set()

        def say(what: str, share: float | None = None) -> None:
            if what not in said:
                said.add(what)
                note(what)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task("reading", total=None)

        def show(what: str, share: float | None = None) -> None:
            total = None if share is None else 1.0
            bars.update(task, description=what, total=total, completed=share or 0.0)

        yield show


@contextmanager
def training(label: str):
    """A callback for train.Progress: a live bar, or a line every ten seconds and at each validation."""
    if not sys.stderr.isatty():
        yield _Lines(label)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn(label),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=console(stderr=True)) as bars:
        task, meter = bars.add_task("", total=1.0, now=""), _Meter()
        yield lambda progress: bars.update(task, completed=progress.share, now=meter(progress))


class _Meter:
    """`loss 2.31 | valid 2.40 | 18,200 tokens/s | 40 s left`."""

    def __call__(self, progress) -> str:
        rate = progress.tokens / max(progress.wall_seconds, 1e-9)
        parts = [f"loss {progress.train_nats:.3f}"]
        if progress.valid_nats is not None:
            parts.append(f"valid {progress.valid_nats:.3f}")
        parts.append(f"{rate:,.0f} tokens/s")
        if progress.share > 0:
            left = progress.wall_seconds * (1 / progress.share - 1)
            parts.append(f"{seconds(left)} left")
        return " | ".join(parts)


class _Lines:
    def __init__(self, label: str) -> None:
        self.label, self.last, self.valid, self.meter = label, 0.0, None, _Meter()

    def __call__(self, progress) -> None:
        news = progress.valid_nats != self.valid
        if news or time.monotonic() - self.last > 10:
            self.last, self.valid = time.monotonic(), progress.valid_nats
            note(
                f"{self.label}: {progress.share:4.0%} step {progress.step:,} | {self.meter(progress)}"
            )


@contextmanager
def comparing():
    """A callback for a list of compare.Status: one bar a run, or a line a finished run."""
    if not sys.stderr.isatty():
        done: set[int] = set()

        def say(status) -> None:
            for index, one in enumerate(status):
                if one.done and index not in done:
                    done.add(index)
                    note(f"[{len(done)}/{len(status)}] {one.label}")

        yield say
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as bars:
        tasks: dict[int, object] = {}

        def show(status) -> None:
            for index, one in enumerate(status):
                if index not in tasks:
                    tasks[index] = bars.add_task(one.label, total=1.0, now="", start=False)
                if one.share > 0 or one.done:
                    bars.start_task(tasks[index])
                now = "" if one.valid_nats is None else f"valid {one.valid_nats:.3f} nats"
                bars.update(tasks[index], completed=1.0 if one.done else one.share, now=now)
                if one.done:
                    bars.stop_task(tasks[index])

        yield show


@contextmanager
def campaigning():
    """A callback for campaign.Status: one bar for a stage, or a line a finished trial."""
    if not sys.stderr.isatty():
        told = 0

        def say(status) -> None:
            nonlocal told
            if status.done > 0 and status.done != told:
                left = seconds(status.seconds_left)
                note(f"[{status.done}/{status.wanted}] {status.now} | about {left} left")
            told = status.done

        yield say
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(stderr=True)) as bars:
        task = bars.add_task("")

        def show(status) -> None:
            told = f"{status.done}/{status.wanted}, about {seconds(status.seconds_left)} left | "
            bars.update(
                task,
                description=told + status.now[:80],
                total=status.wanted,
                completed=status.done + status.share,
            )

        yield show


PARSES = ("parse", "right_branching", "left_branching", "random_trees")


def parses(readings) -> None:
    """A table of how well trees were guessed, beside guesses that need no grammar; nothing if none were."""
    found = {reading.name: reading for reading in readings}
    if "parse_f1" not in found:
        return
    print(f"\n{'unlabelled F1, %':<18}{'of sentences':>16}{'of all brackets':>18}{'all right':>14}")
    for name in PARSES:
        cells = (found[f"{name}{end}"] for end in ("_f1", "_f1_corpus", "_exact"))
        text = [f"{cell.value:.1f} +- {cell.stderr:.1f}" for cell in cells]
        label = "best tree" if name == "parse" else name.replace("_", " ")
        print(f"{label:<18}{text[0]:>16}{text[1]:>18}{text[2]:>14}")
    print(
        f"({found['parse_f1'].count:,} gold trees; spans of two words or more but the whole sentence, each "
        "once, punctuation taken out)\n"
    )
