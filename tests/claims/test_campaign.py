"""Carrying out a claim: stage after stage, resumable, nothing run twice; the command from end to end."""

import pytest

from seqstate import campaign
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.record import Reading
from seqstate.errors import Diverged, Interrupted
from seqstate.pool import open_pool


class TwoStages(Claim):
    """Squares, then the best of them doubled."""

    statement, criterion = "squares grow", "they do"

    def __init__(self, stop_at=None, diverge_at=None):
        self.ran, self.stop_at, self.diverge_at = [], stop_at, diverge_at

    def runs(self, corpora, effort, done):
        first = [Trial({"x": x}) for x in range(4)]
        found = [done[t.key] for t in first if t.key in done and done[t.key].readings]
        if any(t.key not in done for t in first):
            return [*first, first[0]]
        best = max(found, key=lambda record: record.value("y"))["x"]
        return [*first, Trial({"x": 2 * best})]

    def measure(self, trial, corpora, folder, tell=None):
        x = trial.settings["x"]
        if x == self.stop_at:
            raise Interrupted("Ctrl-C")
        if x == self.diverge_at:
            raise Diverged("no longer a number")
        self.ran.append(x)
        return [Reading("y", float(x * x), "1")]

    def verdict(self, records):
        return Verdict(True, "", [])


def run(claim, folder, pool=None):
    return campaign.carry_out(claim, {}, folder, effort="full", command="test", pool=pool)


def test_a_later_stage_follows_from_the_earlier_and_nothing_is_run_twice(tmp_path):
    claim = TwoStages()
    records = run(claim, tmp_path)
    assert claim.ran == [0, 1, 2, 3, 6]
    assert {record["x"]: record.value("y") for record in records} == {x: x * x for x in claim.ran}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{record.key}.json" for record in records
    )
    again = TwoStages()
    assert len(run(again, tmp_path)) == 5
    assert again.ran == []


def test_an_interrupted_campaign_says_so_and_goes_on(tmp_path):
    with pytest.raises(Interrupted, match="the same command goes on from there"):
        run(TwoStages(stop_at=2), tmp_path)
    claim = TwoStages()
    run(claim, tmp_path)
    assert claim.ran == [2, 3, 6]


def test_trials_side_by_side_leave_the_same_records(tmp_path):
    alone = run(TwoStages(diverge_at=3), tmp_path / "alone")
    with open_pool("loky", jobs=2) as pool:
        both = run(TwoStages(diverge_at=3), tmp_path / "both", pool=pool)
    assert {record.key: record.readings for record in both} == {
        record.key: record.readings for record in alone
    }
    assert not (tmp_path / "both" / "work").exists()


def test_a_trial_that_diverges_is_recorded_without_readings(tmp_path):
    records = run(TwoStages(diverge_at=3), tmp_path)
    assert {record["x"]: bool(record.readings) for record in records} == {
        0: True, 1: True, 2: True, 3: False, 4: True,
    }  # fmt: skip


def test_other_files_in_the_folder_are_refused_in_one_line(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 9}')
    with pytest.raises(ValueError, match="is not a record of a trial: format 9"):
        campaign.load_records(tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = TrialRecord({"b": 1, "a": "x"}, [Reading("y", 0.5, "nat", 3, 0.1)], 2.5, {"v": "1"})
    path = record.save(tmp_path)
    assert TrialRecord.load(path) == record
    assert path.stem == Trial({"a": "x", "b": 1}).key
