"""`seqstate train` under torchrun: one model of two processes, killed, stopped, gone on with, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

import seqstate as library

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
MODEL = ["--state", "lstm(width=16)", "--energy", "multi_hamming(groups=4)", "--tokenizer", "char"]
STEPS = 150
SHAPE = ["--batch-size", "4", "--context", "16", "--eval-every", "50"]


@pytest.fixture
def torchrun():
    """Start `seqstate train` in two ranks, in a process group of their own as a shell does."""
    started = []

    def start(*arguments):
        command = [*TORCHRUN, "-m", "seqstate", "train", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        run = subprocess.Popen(
            command, **pipes, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True
        )
        started.append(run)
        return run

    yield start
    for run in started:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def ranks_of(run) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(run.pid), "-o", "pid="], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


def until_saved(run, folder) -> None:
    while not list((folder / "checkpoint.shards").glob("[0-9]*")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)


def ours(errors: str) -> list[str]:
    """What our processes say, without torchrun's own report."""
    return [line for line in errors.splitlines() if line.startswith(("seqstate:", "[rank"))]


def test_a_rank_is_killed_and_the_run_goes_on_to_the_loss_of_one_process(
    seqstate, torchrun, book, tmp_path
):
    asked = [book, *MODEL, *SHAPE, "--steps", STEPS]
    code, _, err = seqstate("train", *asked, "--out", tmp_path / "alone")
    assert code == 0, err

    run = torchrun(*asked, "--out", tmp_path / "two", "--checkpoint-seconds", "0.05")
    until_saved(run, tmp_path / "two")
    os.kill(ranks_of(run)[1], signal.SIGKILL)
    _, err = run.communicate()
    assert run.returncode != 0
    assert len(ours(err)) == 1, err
    (said,) = ours(err)
    assert "another rank has ended" in said
    assert "the same command with --resume goes on after step" in said
    assert not (tmp_path / "two" / "run.json").exists()

    run = torchrun(*asked, "--out", tmp_path / "two", "--resume")
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert "2 ranks (ddp): each reads 2 of 4 rows" in err
    assert out.count("bits per byte") == 1  # one rank tells
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("alone", "two"))
    assert two["machine"].items() >= {"ranks": 2, "parallel": "ddp", "backend": "gloo"}.items()
    assert two["key"] == one["key"]
    for before, after in zip(one["curve"], two["curve"], strict=True):
        for kind in ("train_nats", "valid_nats"):
            assert after[kind] == pytest.approx(before[kind], rel=1e-5)
    assert two["readings"][0]["value"] == pytest.approx(one["readings"][0]["value"], rel=1e-5)
    left = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (tmp_path / "two").iterdir()} == left
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("alone", "two")]
    assert weights[0].keys() == weights[1].keys()
    assert library.load(tmp_path / "two").generate("The", tokens=5, seed=1)


def test_ctrl_c_saves_the_shards_and_one_process_goes_on(seqstate, torchrun, book, tmp_path):
    asked = [book, *MODEL, *SHAPE, "--out", tmp_path / "model", "--checkpoint-seconds", "0.05"]
    run = torchrun(*asked, "--steps", 100_000, "--parallel", "fsdp")
    until_saved(run, tmp_path / "model")
    os.killpg(
        run.pid, signal.SIGINT
    )  # a terminal tells torchrun and the ranks; torchrun tells them too
    _, err = run.communicate()
    assert len(ours(err)) == 1, err
    (said,) = ours(err)
    assert "go on with --resume" in said
    stopped = int(said.split("after step ")[1].split(";")[0])
    saved = sorted(path.name for path in (tmp_path / "model" / "checkpoint.shards").iterdir())
    assert saved == [f"{stopped:012d}"]

    code, _, err = seqstate("train", *asked, "--steps", 100_000, "--lr", "0.1", "--resume")
    assert code == 2
    assert "unfinished run with other settings (lr differ)" in err
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "checkpoint.shards",
        "metrics.jsonl",
    ]
    code, _, err = seqstate("train", *asked, "--steps", 10, "--overwrite")
    assert code == 0, err
    assert not (tmp_path / "model" / "checkpoint.shards").exists()


def test_what_ranks_cannot_share_is_refused_once_in_one_line(torchrun, book, tmp_path):
    run = torchrun(book, "--state", "ngram(order=3)", "--out", tmp_path / "model")
    _, err = run.communicate()
    assert run.returncode != 0
    assert ours(err) == [
        "seqstate: error: ngram(order=3) counts the text once: there is nothing to share; leave torchrun out"
    ]
    assert not (tmp_path / "model").exists()


def test_fsdp_in_one_process_is_refused(seqstate, book, tmp_path):
    code, _, err = seqstate("train", book, "--parallel", "fsdp", "--out", tmp_path / "model")
    assert code == 2
    assert "torchrun --standalone --nproc_per_node 2 -m seqstate train" in err
    assert not (tmp_path / "model").exists()
