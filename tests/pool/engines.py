"""What the tests of all engines share: processes with a mark, waiting, and the numbers of a comparison."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

# of each process's own folder: by these paths nobody sees another's files
OWN_CACHE, OWN_LADDER = "/proc/self/cwd/cache", "/proc/self/cwd/ladder"
LIMIT = 240.0  # seconds, on a machine that has other things to do


def serially(command, ladder: Path, *, cache: Path) -> None:
    """Make, or finish, a comparison in this process."""
    from seqstate.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_CACHE", str(cache))
        assert main([*map(str, command), "--jobs", "1", "--out", str(ladder)]) == 0


def numbers(ladder: Path) -> dict:
    """All of every record and all weights, but for what a clock says."""
    found = {}
    for path in ladder.glob("runs/*/run.json"):
        record = json.loads(path.read_text())
        found[record["key"]] = {
            "config": record["config"],
            "readings": [row for row in record["readings"] if "second" not in row["name"]],
            "curve": [
                {name: value for name, value in point.items() if "second" not in name}
                for point in record["curve"]
            ],
            "sample": record["sample"],
            "surprise": record["surprise"],
            "files": sorted(file.name for file in path.parent.iterdir()),
            "weights": (path.parent / "model.safetensors").read_bytes(),
        }
    return found


def kept(ladder: Path) -> list[bool]:
    """Of every run that had begun to learn, whether it can go on or has ended."""
    names = ("checkpoint.safetensors", "run.json")
    begun = [path.parent for path in ladder.glob("runs/*/metrics.jsonl")]
    return [any((folder / name).exists() for name in names) for folder in begun]


class Processes:
    """Starts processes and knows all that come of them, by a mark in the environment they hand on."""

    def __init__(self, **environment):
        self.mark = f"SEQSTATE_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.environment = {**os.environ, name: value, **environment}
        self.started = []

    def start(self, *arguments, cwd) -> subprocess.Popen:
        cwd.mkdir(exist_ok=True)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        common = {"env": self.environment, "cwd": cwd, "start_new_session": True, "text": True}
        process = subprocess.Popen([sys.executable, *map(str, arguments)], **pipes, **common)
        self.started.append(process)
        return process

    def seqstate(self, *arguments, cwd) -> subprocess.Popen:
        return self.start("-m", "seqstate", *arguments, cwd=cwd)

    def gone(self, seconds: float = 30.0) -> bool:
        """Whether nothing runs any more, soon."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.alive()

    def alive(self) -> list[tuple[int, str]]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append((int(folder.name), command))
            except OSError:
                continue  # it has ended meanwhile
        return found

    def close(self) -> None:
        for pid, _ in self.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.communicate()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def kill(process: subprocess.Popen) -> None:
    """The whole of it and at once, as when its machine loses power."""
    whole = psutil.Process(process.pid)
    for one in [whole, *whole.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def until(condition, process: subprocess.Popen | None = None):
    """Wait for something; what a process that ended meanwhile said is shown."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)
    return found
