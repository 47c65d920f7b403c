"""Files and folders that are written whole or not at all, whatever the disk refuses."""

import os

import pytest

from seqstate.core.record import replace_folder, write_atomic


def test_a_file_that_cannot_be_written_leaves_the_former_and_nothing_beside_it(
    tmp_path, monkeypatch
):
    path = write_atomic(tmp_path / "run.json", b"first")

    def full(number):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"second")
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == b"first"


def test_a_folder_is_replaced_or_stays(tmp_path):
    place, scratch = tmp_path / "fused", tmp_path / "scratch"
    for folder, name in ((place, "old"), (scratch / "made", "new")):
        folder.mkdir(parents=True)
        (folder / name).touch()
    with pytest.raises(FileNotFoundError):
        replace_folder(scratch / "missing", place)
    assert [file.name for file in place.iterdir()] == ["old"]
    assert replace_folder(scratch / "made", place) == place
    assert [file.name for file in place.iterdir()] == ["new"]
