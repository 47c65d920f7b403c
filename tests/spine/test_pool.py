"""Work in processes side by side: all results, the first error, and a Ctrl-C that ends well."""

import os
import signal
import subprocess
import sys
import time

import pytest

from seqstate.pool import side_by_side


def test_all_results_come_back():
    results = []
    side_by_side(pow, [(2, power) for power in range(7)], jobs=2, done=results.append)
    assert sorted(results) == [1, 2, 4, 8, 16, 32, 64]


def test_an_error_comes_back_as_it_was():
    with pytest.raises(ZeroDivisionError):
        side_by_side(divmod, [(1, 1), (1, 0), (4, 2)], jobs=2, done=lambda result: None)


INTERRUPTED = """
import time
from pathlib import Path
from seqstate.errors import Interrupted
from seqstate.pool import side_by_side

def work(name):
    Path(name).touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(name + ".saved").touch()
        raise

if __name__ == "__main__":
    try:
        side_by_side(work, [(name,) for name in "abcd"], jobs=2, done=print)
    except Interrupted:
        Path("told").touch()
"""


def test_ctrl_c_lets_work_under_way_end_well_and_begins_nothing_new(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not {"a", "b"} <= set(os.listdir(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert set(os.listdir(tmp_path)) == {"script.py", "a", "b", "a.saved", "b.saved", "told"}
