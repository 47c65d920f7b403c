"""`seqstate claim` from end to end on a tiny text, and what it says to mistakes."""

from __future__ import annotations

import json

import pytest

from seqstate.core import registry
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading


def test_claims_are_listed_with_their_criteria(seqstate):
    code, out, _ = seqstate("claim")
    assert code == 0
    for name in registry.names("claims"):
        assert name in out
        assert registry.find("claims", name).criterion in out
    assert json.loads(seqstate("claim", "--json")[1]).keys() == set(registry.names("claims"))


def test_a_claim_on_text_runs_goes_on_and_is_judged_again_from_records(seqstate, book, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(book.read_text()[::-1])
    out = tmp_path / "records"
    command = ["claim", "energy_beats_inner", book, other, "--effort", "small", "--out", out]
    code, told, err = seqstate(*command)
    assert code == 0, err
    assert err.index("criterion:") < err.index("trials to run")
    assert "energy_beats_inner undecided:" in told
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    kinds = [json.loads(path.read_text())["settings"].get("kind") for path in written]
    assert kinds.count("timed") == 4  # two texts, two seeds
    assert {path.name for path in out.iterdir()} == {path.name for path in written}
    assert seqstate(*command)[1] == told
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == written
    code, again, _ = seqstate(
        "claim", "energy_beats_inner", "--out", out, "--report-only", "--json"
    )
    found = json.loads(again)
    assert (code, found["holds"], found["records"]) == (0, None, len(written))
    assert len(found["table"]) == 2


@pytest.mark.parametrize(
    ("name", "undecided"),
    [("large_vocabularies", "too few records"), ("depth_composes", "wanted 2 seeds or more")],
)
def test_a_claim_that_makes_its_own_data_runs(seqstate, tmp_path, name, undecided):
    code, told, err = seqstate("claim", name, "--effort", "small", "--out", tmp_path / "own")
    assert code == 0, err
    assert f"{name} undecided: {undecided}" in told


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["enrgy_beats_inner"], "did you mean 'energy_beats_inner'"),
        (["high_rank_targets"], "wants 1 text(s) or more, found 0"),
        (["large_vocabularies", "BOOK"], "makes its own data"),
        (["large_vocabularies", "--jobs", "-1"], "--jobs -1 is below 0"),
        (["large_vocabularies", "--report-only", "--out", "nowhere"], "no folder of records"),
        (["large_vocabularies", "--effort", "huge"], "huge"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    seqstate, book, tmp_path, monkeypatch, arguments, wanted
):
    monkeypatch.chdir(tmp_path)
    given = [str(book) if argument == "BOOK" else argument for argument in arguments]
    code, _, err = seqstate("claim", *given)
    assert code == 2
    assert wanted in err.splitlines()[-1]
    assert "Traceback" not in err


def test_verdicts_are_tabled_from_the_records_of_several_claims(seqstate, tmp_path):
    settings = {"energy": "inner", "symbols": 128, "seed": 0}
    record = TrialRecord(
        settings, [Reading("accuracy", 1.0, "share")], 1.0, command="seqstate claim X"
    )
    record.save(tmp_path / "large_vocabularies")
    code, told, _ = seqstate("claim", "--markdown", tmp_path)
    assert code == 0
    rows = told.strip().splitlines()
    assert len(rows) == 3
    assert "**undecided**" in rows[2]
    assert "too few records: wanted 5 seeds" in rows[2]
    assert rows[2].endswith("| `seqstate claim X` |")
    assert all(row.count("|") == 6 for row in rows)
    code, _, err = seqstate("claim", "--markdown", tmp_path / "large_vocabularies")
    assert (code, "no folder named like a claim" in err) == (2, True)
