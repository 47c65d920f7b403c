"""Processes on this machine: one of them is killed, and the comparison is whole all the same."""

import psutil
import pytest
from engines import LIMIT, numbers, until

pytestmark = pytest.mark.timeout(600)  # a cluster begins slowly on a busy machine


def workers(run):
    """Those that train; loky begins one more, which only minds its semaphores."""
    children = psutil.Process(run.pid).children()
    return [child for child in children if "popen_loky" in " ".join(child.cmdline())]


def test_a_killed_process_is_replaced_and_its_run_goes_on(processes, command, straight, tmp_path):
    here = processes(SEQSTATE_CACHE=str(tmp_path / "cache"))
    run = here.seqstate(*command, "--jobs", 2, "--out", "ladder", cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("ladder/runs/*/metrics.jsonl"))) == 2, run)
    workers(run)[0].kill()
    _, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, err
    assert err.count("a worker was lost under") == 1
    assert "Traceback" not in err
    assert numbers(tmp_path / "ladder") == straight
    assert here.gone()
