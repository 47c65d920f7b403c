"""Two ranks learn what one process learns, from the same rows, and go on from each other's checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ranks.runs import END, RESUMED, TAB, TASKS, config, curve, killed, sides, train
from seqstate.core.model import IGNORE
from seqstate.material import material_of
from seqstate.model import build_model
from seqstate.ranks import Alone

HERE = Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
CLOSE = 1e-6  # relative, of losses in float32: two ranks add up the same rows in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks did all that two_ranks.py does, after one process left its checkpoints there."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in RESUMED:
        killed(name, Alone(), folder / "alone" / name)
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, str(HERE / "two_ranks.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def alone():
    """The losses of one process, by task."""
    return {name: curve(train(name, Alone())[0]) for name in TASKS}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", sorted(set(TASKS) - {"with dropout"}))
def test_the_losses_are_those_of_one_process(found, alone, name, kind):
    assert found["curves"][name][kind] == pytest.approx(alone[name], rel=CLOSE)
    assert len(set(alone[name])) == len(alone[name])  # it learns


def test_dropout_is_drawn_by_step_and_rank_whatever_is_sharded(found, alone):
    drawn = found["curves"]["with dropout"]
    assert drawn["fsdp"] == pytest.approx(drawn["ddp"], rel=CLOSE)
    assert drawn["ddp"] != pytest.approx(alone["with dropout"], rel=1e-4)


@pytest.mark.parametrize("name", ["tied, in two parts", "masked words", "pairs"])
def test_the_ranks_read_every_row_of_the_batch_once(found, name):
    for index, told in enumerate(found["rows"][name]):
        tokens, targets, _ = reader(name).batch(index)
        read, wanted = (np.concatenate([rank[part] for rank in told]) for part in (0, 1))
        assert len(told[0][0]) == len(told[1][0])
        assert np.array_equal(read[: len(tokens)], tokens)
        assert np.array_equal(wanted[: len(tokens)], targets)
        assert (wanted[len(tokens) :] == IGNORE).all()  # what fills up is asked nothing


def reader(name):
    task = TASKS[name]
    (make, size, seed), *_ = sides(task)
    ids = make(size, seed)
    separator = TAB if task.kind == "pairs" else None
    like = build_model("rnn(width=8)", vocab_size=300)
    return material_of(like, ids, ids, config(task), END, separator).reader


@pytest.mark.parametrize("after", ["ddp", "fsdp"])
@pytest.mark.parametrize("before", ["alone", "ddp", "fsdp"])
@pytest.mark.parametrize("name", RESUMED)
def test_two_ranks_go_on_from_the_checkpoint_of(found, alone, name, before, after):
    resumed = found["resumed"][name][f"{before} to {after}"]
    assert resumed == pytest.approx(alone[name], rel=CLOSE)


@pytest.mark.parametrize("before", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", RESUMED[:2])
def test_one_process_goes_on_from_the_checkpoint_of_two(folder, alone, tmp_path, name, before):
    shutil.copytree(folder / before / name, tmp_path / "run")
    outcome, _ = train(name, Alone(), folder=tmp_path / "run", resume=True, checkpoint_seconds=0.0)
    assert curve(outcome) == pytest.approx(alone[name], rel=CLOSE)
    assert not (tmp_path / "run" / "checkpoint.shards").exists()  # its own file took their place


def test_states_that_differ_in_size_between_ranks_are_refused_in_one_line(folder, tmp_path):
    shutil.copytree(folder / "ddp" / "open sentences", tmp_path / "run")
    with pytest.raises(ValueError, match="carries states of 2 ranks that differ in size.* with 2"):
        train("open sentences", Alone(), folder=tmp_path / "run", resume=True)


def test_the_same_ranks_go_on_to_the_same_bits(found):
    assert found["bits"] is True


def test_a_checkpoint_that_was_being_written_does_not_count(found, alone):
    seen = found["while saving"]
    assert seen["left"] == [".000000000004", "000000000003"]
    assert seen["after"] == ["000000000009"]
    assert seen["curve"] == pytest.approx(alone["tied, in two parts"], rel=CLOSE)


def test_checkpoints_of_ranks_hold_no_pickle(folder):
    files = [path for path in (folder / "fsdp").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jsonl"}
    assert len([path for path in files if path.suffix == ".safetensors"]) == 2 * len(RESUMED)
