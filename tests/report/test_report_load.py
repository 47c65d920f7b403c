"""Reading records: folders at any depth, the newest of equal keys, one line for what is wrong."""

import dataclasses
import json
import re

import pytest
from report.builder import fake_run

from seqstate.report import load_runs


def test_records_are_found_at_any_depth_and_in_files_named_themselves(tmp_path):
    runs = [fake_run(seed=seed) for seed in range(3)]
    runs[0].save(tmp_path / "a" / "b" / "c")
    runs[1].save(tmp_path / "a")
    alone = runs[2].save(tmp_path / "elsewhere")
    found = load_runs([tmp_path / "a", alone])
    assert {run.key for run in found} == {run.key for run in runs}
    assert found[-1] == runs[2]


def test_of_equal_keys_the_run_that_finished_last_is_kept(tmp_path):
    old = fake_run()
    new = dataclasses.replace(old, finished="2026-01-01T00:00:00+00:00", sample="newer")
    new.save(tmp_path / "a")
    old.save(tmp_path / "b")
    assert [run.sample for run in load_runs([tmp_path, tmp_path / "b"])] == ["newer"]


def test_trial_runs_of_a_comparison_are_left_out_unless_asked_for(tmp_path):
    kept, trial = fake_run(), fake_run(lr=0.01)
    kept.save(tmp_path / "runs" / kept.key)
    trial.save(tmp_path / "tuning" / trial.key)
    assert [run.key for run in load_runs([tmp_path])] == [kept.key]
    assert [run.key for run in load_runs([tmp_path / "tuning"])] == [trial.key]


def broken(**changes):
    def write(path):
        data = json.loads(fake_run().save(path).read_text(encoding="utf-8"))
        (path / "run.json").write_text(json.dumps({**data, **changes}), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (lambda path: path.mkdir(), "no run.json under"),
        (lambda path: None, "no such file or folder"),
        (broken(format=99), "format 99"),
        (broken(curve={}), "curve is dict, wanted list"),
        (broken(curve=[3]), "curve wants one object"),
        (broken(sample=None), "sample is NoneType, wanted str"),
        (broken(readings=[{"name": "x", "value": "high", "unit": "1"}]), "found 'high'"),
        (broken(surprise={"text": ["a", "b"], "nats": [1.0], "seen_from": 0}), "as many nats"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_place(tmp_path, write, what):
    write(tmp_path / "place")
    with pytest.raises(ValueError, match=re.escape(what)) as raised:
        load_runs([tmp_path / "place"])
    assert "place" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"format": 1}'])
def test_a_file_that_is_no_record_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a run record") as raised:
        load_runs([path])
    assert "\n" not in str(raised.value)


def test_no_path_at_all_is_refused():
    with pytest.raises(ValueError, match="no path given"):
        load_runs([])
