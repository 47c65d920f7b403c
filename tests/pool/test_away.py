"""What travels to another machine and back, with and without files that both see."""

import pickle
import threading

import numpy as np
import pytest

from seqstate.errors import Diverged, Interrupted
from seqstate.pool import Task, _away
from seqstate.text.store import prepare


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "cache"))


def sent(function, folder, *arguments, corpora=None, shared=False):
    """A call made elsewhere: packed, run and settled."""
    parcel = _away.Parcel.of(function, Task("run", folder, arguments), corpora or {})
    if not shared:
        parcel.withdraw()
    returned = pickle.loads(pickle.dumps(_away.run(pickle.loads(pickle.dumps(parcel)))))
    parcel.withdraw()
    return parcel, returned


def finishes(corpora, folder, text):
    """Goes on from its checkpoint, which it drops at the end."""
    before = (folder / "checkpoint").read_text()
    (folder / "checkpoint").unlink()
    (folder / "part").mkdir()
    (folder / "part" / "weights").write_text(before + text)
    return str(folder)


@pytest.mark.parametrize("shared", [True, False])
def test_a_run_goes_on_from_its_checkpoint_and_leaves_its_files_at_home(tmp_path, shared):
    home = tmp_path / "out" / "key"
    home.mkdir(parents=True)
    (home / "checkpoint").write_text("so far, ")
    parcel, returned = sent(finishes, home, "done", shared=shared)
    assert (returned.files is None) == shared
    assert (parcel.settle(returned) == str(home)) == shared
    assert (home / "part" / "weights").read_text() == "so far, done"
    assert not (home / "checkpoint").exists()
    assert [path.name for path in home.parent.iterdir()] == ["key"]
    assert not list(tmp_path.glob("cache/away/.*")), "nothing stays on the other machine"


def stops(corpora, folder, error):
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_text("up to here")
    raise error(f"see {folder}") if error is not KeyboardInterrupt else error


@pytest.mark.parametrize("error", [Interrupted, Diverged, KeyboardInterrupt])
def test_a_run_that_stops_sends_its_checkpoint_home_and_speaks_of_the_folder_there(tmp_path, error):
    home = tmp_path / "out" / "key"
    parcel, returned = sent(stops, home, error)
    with pytest.raises(Interrupted if error is KeyboardInterrupt else error) as raised:
        parcel.settle(returned)
    assert str(raised.value) in (f"see {home}", "stopped")
    assert (home / "checkpoint").read_text() == "up to here"


class Awkward(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.held = threading.Lock()


def awkward(corpora, folder):
    raise Awkward("cannot be pickled")


def test_an_error_that_cannot_travel_is_told_all_the_same(tmp_path):
    parcel, returned = sent(awkward, tmp_path / "out" / "key")
    with pytest.raises(RuntimeError, match="Awkward: cannot be pickled"):
        parcel.settle(returned)


def test_a_run_that_comes_back_twice_leaves_the_same_files(tmp_path):
    home = tmp_path / "out" / "key"
    home.mkdir(parents=True)
    (home / "checkpoint").write_text("so far, ")
    parcel, returned = sent(finishes, home, "done")
    for _ in range(2):
        parcel.settle(returned)
        assert [path.name for path in home.rglob("*")] == ["part", "weights"]


def counted(corpora, folder):
    [corpus] = corpora.values()
    return np.bincount(corpus.train).tolist(), corpus.id, str(corpus.folder)


def test_a_corpus_is_fetched_once_by_a_machine_that_has_it_not(book, tmp_path, monkeypatch):
    corpus, fetched = prepare([book], tokenizer="char"), []

    def fetch():
        fetched.append(1)
        return files

    files = _away.read_files(corpus.folder)
    there = {corpus.id: _away.Sent(tmp_path / "unseen" / corpus.folder.name, corpus.name, fetch)}
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "theirs"))
    for _ in range(2):
        parcel = _away.Parcel.of(counted, Task("run", tmp_path / "out" / "key"), there)
        counts, found, folder = parcel.settle(_away.run(parcel))
        assert (counts, found) == (np.bincount(corpus.train).tolist(), corpus.id)
        assert folder == str(tmp_path / "theirs" / "corpora" / corpus.folder.name)
    assert fetched == [1]
    here = {corpus.id: _away.Sent(corpus.folder, corpus.name, fetch)}
    parcel = _away.Parcel.of(counted, Task("run", tmp_path / "out" / "key"), here)
    assert parcel.settle(_away.run(parcel))[2] == str(corpus.folder)
    assert fetched == [1]
