"""A corpus is its text, split and cut: prepared once, found again, never half-written, never held whole."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from seqstate.text import cache as on_disk
from seqstate.text import sources, store
from seqstate.text.store import encode_text, open_corpus, prepare, starvation
from seqstate.text.tokenizer import KINDS, Tokenizer

WORDS = "the king and his men wait by a river of stone while rain falls on every roof".split()  # noqa: SIM905


def prose(characters, seed=0):
    """Lines of random words, always the same."""
    generator = np.random.default_rng(seed)
    words = generator.choice(WORDS, characters // 4)
    ends = generator.choice([" ", " ", " ", ", ", ".\n"], characters // 4)
    return "".join(map(str.__add__, words, ends))[:characters]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQSTATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(prose(20_011), encoding="utf-8")
    return path


def text_of(corpus, side):
    return corpus.tokenizer.decode(getattr(corpus, side))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_its_two_sides_cut_at_the_exact_character(book, kind):
    corpus = prepare([book], tokenizer=kind)
    text, cut = book.read_text(), int(0.9 * 20_011)
    for side, expected in (("train", text[:cut]), ("valid", text[cut:])):
        shown = text_of(corpus, side).removeprefix("<doc>")
        if kind in ("word", "space"):  # the word that the cut goes through may be unknown
            assert expected[10:-10] in shown
        else:
            assert shown == expected
    assert (corpus.train_bytes, corpus.valid_bytes) == (cut, 20_011 - cut)
    assert (corpus.train_documents, corpus.valid_documents) == (1, 1)
    assert corpus.train.dtype == np.uint16
    assert isinstance(corpus.train, np.memmap) and not corpus.train.flags.writeable


def test_documents_stay_apart_and_none_is_on_both_sides(tmp_path):
    texts = [f"Document {i} 你好: " + prose(300 + i, seed=i) for i in range(60)]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, *texts[:20]]))
    corpus = prepare([path], tokenizer="bpe", vocab_size=400)
    train, valid = (text_of(corpus, side).split("<doc>")[1:] for side in ("train", "valid"))
    assert sorted(train + valid) == sorted([*texts, *texts[:20]])
    assert valid and not set(train) & set(valid)
    assert (corpus.train_documents, corpus.valid_documents) == (len(train), len(valid))
    assert corpus.valid_bytes == len("".join(valid).encode())
    assert 0.05 < corpus.valid_bytes / (corpus.train_bytes + corpus.valid_bytes) < 0.15


def test_the_vocabulary_learns_nothing_of_the_held_out_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcd " * 2000 + "Zz" * 500)
    for kind in ("char", "word"):
        corpus = prepare([path], tokenizer=kind)
        assert corpus.tokenizer.encode("Z").tolist() == [corpus.tokenizer.unknown]
        assert corpus.unknown > 0.05
    merged = prepare([path], tokenizer="bpe").tokenizer
    assert len(merged.encode("ZzZz")) == 4


def test_given_held_out_text_leaves_all_of_the_rest_to_training(tmp_path, book):
    other = tmp_path / "other.txt"
    other.write_text(prose(500, seed=9))
    corpus = prepare([book], valid=[other], tokenizer="byte")
    assert text_of(corpus, "train") == "<doc>" + book.read_text()
    assert text_of(corpus, "valid") == "<doc>" + other.read_text()
    assert corpus.split == "given"


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(chr(code) for code in range(0x20000, 0x20000 + 70_000)) * 3)
    corpus = prepare([path], tokenizer="char")
    assert corpus.tokenizer.vocab_size > 1 << 16
    assert corpus.train.dtype == np.uint32
    assert text_of(corpus, "train")[5:] == path.read_text()[: int(0.9 * 210_000)]


def test_the_second_time_nothing_is_read_but_the_digest(book, monkeypatch):
    first = prepare([book], tokenizer="char")
    monkeypatch.setattr(store, "survey", lambda pieces: pytest.fail("was measured again"))
    second = prepare([book], tokenizer="char")
    assert (second.id, second.folder) == (first.id, first.folder)
    assert np.array_equal(second.valid, first.valid)


def test_the_id_follows_the_content_and_not_the_place(tmp_path, book):
    first = prepare([book], tokenizer="word")
    packed = tmp_path / "elsewhere" / "book.txt.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(book.read_bytes()))
    assert prepare([packed], tokenizer="word").id == first.id
    ids = {first.id, prepare([book], tokenizer="char").id}
    ids.add(prepare([book], tokenizer="word", vocab_size=10).id)
    ids.add(prepare([book], tokenizer="word", valid_share=0.2).id)
    book.write_text(book.read_text() + "!")
    ids.add(prepare([book], tokenizer="word").id)
    assert len(ids) == 5


def test_names_say_where_text_came_from(tmp_path, book, monkeypatch):
    folder = tmp_path / "my essays"
    folder.mkdir()
    (folder / "input.txt").write_text(prose(2000))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(prose(2000).encode())))
    names = [
        prepare(paths, tokenizer="byte").name
        for paths in (
            [book],
            [folder],
            [folder / "input.txt"],
            [folder, book],
            [folder / "*"],
            ["-"],
        )
    ]
    assert names == ["book", "my-essays", "my-essays", "my-essays+1", "my-essays", "stdin"]


def test_a_pipe_is_read_once_and_its_copy_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(prose(5000).encode())))
    corpus = prepare(["-"], tokenizer="bpe")
    assert text_of(corpus, "train") == "<doc>" + prose(5000)[:4500]
    assert [file.name for file in corpus.folder.parent.iterdir()] == [corpus.folder.name]


def test_a_tokenizer_can_be_reused(tmp_path, book):
    first = prepare([book], tokenizer="bpe", vocab_size=300)
    other = tmp_path / "other.txt"
    other.write_text(prose(3000, seed=5))
    for given in (first.folder / "tokenizer.json", first.folder):
        corpus = prepare([other], tokenizer=given)
        assert corpus.tokenizer.model.to_str() == first.tokenizer.model.to_str()
    with pytest.raises(ValueError, match=r"has 300 tokens, not 500; leave the vocabulary size out"):
        prepare([other], tokenizer=first.folder, vocab_size=500)
    with pytest.raises(
        ValueError, match=r"unknown tokenizer 'bpee'; there are byte, char, word, bpe"
    ):
        prepare([other], tokenizer="bpee")


def test_another_process_is_sent_the_place_and_not_the_ids(book):
    corpus = prepare([book], tokenizer="byte")
    packed = pickle.dumps(corpus)
    assert len(packed) < 1000
    copy = pickle.loads(packed)
    assert copy.id == corpus.id and np.array_equal(copy.train, corpus.train)
    assert open_corpus(corpus.folder, corpus.name).id == corpus.id


def test_an_interrupted_preparation_leaves_nothing(book, monkeypatch):
    def interrupt(stage, share):
        if stage == "encoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([book], tokenizer="byte", progress=interrupt)
    assert list((on_disk.cache_folder() / "corpora").iterdir()) == []
    assert len(prepare([book], tokenizer="byte").train) > 0


def test_a_damaged_cache_is_made_again(book):
    corpus = prepare([book], tokenizer="byte")
    for damage in ("train.bin", "meta.json"):
        path = corpus.folder / damage
        path.write_bytes(path.read_bytes()[:-7])
        again = prepare([book], tokenizer="byte")
        assert again.id == corpus.id and text_of(again, "train")[5:] == book.read_text()[:18_009]
    (corpus.folder / "valid.bin").unlink()
    with pytest.raises(ValueError, match="holds no whole corpus; prepare the text again"):
        open_corpus(corpus.folder, corpus.name)
    assert prepare([book], tokenizer="byte").id == corpus.id


def test_what_the_dead_left_half_made_is_swept_away(book):
    root = on_disk.cache_folder() / "corpora"
    for name, age in ((".old-x", 2 * on_disk.ABANDONED), (".new-x", 60)):
        (root / name).mkdir(parents=True)
        os.utime(root / name, (time.time() - age,) * 2)
    prepare([book], tokenizer="byte")
    assert not (root / ".old-x").exists() and (root / ".new-x").exists()


def test_two_processes_may_prepare_the_same_text_at_once(book):
    code = (
        "import sys, time; from seqstate.text.store import prepare; time.sleep(float(sys.argv[2]));"
        "print(prepare([sys.argv[1]], tokenizer='word').id)"
    )
    until = time.time() + 1
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(book), str(max(0.0, until - time.time()))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ids = {process.communicate()[0].strip() for process in running}
    assert ids == {prepare([book], tokenizer="word").id}
    assert all(process.returncode == 0 for process in running)
    assert len(list((on_disk.cache_folder() / "corpora").iterdir())) == 1


def test_the_loser_of_a_race_takes_the_winners_folder(tmp_path):
    with on_disk.made(tmp_path / "x") as slow:
        with on_disk.made(tmp_path / "x") as quick:
            (quick / "meta.json").write_text('{"sizes": {}, "by": "quick"}')
        (slow / "meta.json").write_text('{"sizes": {}, "by": "slow"}')
    assert "quick" in (tmp_path / "x" / "meta.json").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "READ_BYTES", 1 << 14)
    monkeypatch.setattr(store, "SAMPLE", 1 << 16)
    peaks = []
    for size in (200_000, 1_600_000):
        path = tmp_path / f"{size}.txt"
        path.write_text(prose(100_000) * (size // 100_000))
        tracemalloc.start()
        corpus = prepare([path], tokenizer=kind)
        ids, _ = encode_text(corpus.tokenizer, [path])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(ids) >= len(corpus.train)
    assert peaks[1] < 1.3 * peaks[0]


def test_vocabularies_are_learnt_from_all_parts_of_a_long_text(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SAMPLE", 900_000)
    path = tmp_path / "long.txt"
    path.write_text("".join(f"part{chr(97 + i // 30)} sings on and on. " * 100 for i in range(780)))
    words = prepare([path], tokenizer="word").tokenizer
    known = [words.unknown not in words.encode(f" part{chr(97 + i)}") for i in range(24)]
    assert sum(known) > 18


def test_texts_to_evaluate_are_opened_and_counted_as_in_training(tmp_path, book):
    tokenizer = prepare([book], tokenizer="bpe").tokenizer
    path = tmp_path / "two.jsonl"
    path.write_text('{"body": "naïve"}\n{"body": "the king"}\n')
    ids, size = encode_text(tokenizer, [path], field="body")
    assert tokenizer.decode(ids) == "<doc>naïve<doc>the king"
    assert size == 6 + 8
    ids, size = encode_text(tokenizer, [book])
    assert ids[0] == tokenizer.boundary
    assert np.array_equal(ids[1:], tokenizer.encode(book.read_text()))
    with pytest.raises(ValueError, match="no text was given"):
        encode_text(tokenizer, [])


def test_progress_is_told_in_order(book):
    told = []
    prepare([book], tokenizer="bpe", progress=lambda stage, share: told.append((stage, share)))
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["reading", "measuring", "training the tokenizer", "encoding"]
    shares = [share for stage, share in told if stage == "encoding"]
    assert shares == sorted(shares) and shares[-1] == 1


def refuse(says, *args, **options):
    with pytest.raises(ValueError, match=says) as error:
        prepare(*args, **options)
    assert "\n" not in str(error.value)


def test_bad_input_is_one_line(tmp_path, book, monkeypatch):
    short = tmp_path / "short.txt"
    short.write_text("x" * 312)
    refuse(r"short has 312 characters.*1,000 are needed", [short])
    refuse(
        r"short has 312 characters, too few to hold out 20%.* 500 are needed",
        [short],
        valid_share=0.2,
    )
    refuse("no such file or folder: absent", ["absent"])
    refuse(r"a held-out share of 1.5 is not above 0", [book], valid_share=1.5)
    refuse(r"book.txt is both training and held-out text", [book], valid=[tmp_path / "*.txt"])
    short.write_text("x" * 50)
    refuse(r"short has 50 characters; 100 are needed", [book], valid=[short])
    refuse(r"short has 50 characters; 100 are needed", [short], valid=[book])
    refuse(r"unknown --encoding 'utf-9'", [book], encoding="utf-9")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    refuse(r"there is no text in standard input", ["-"])


def test_a_cache_that_cannot_be_written_is_named(tmp_path, book, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("SEQSTATE_CACHE", str(blocked))
    refuse(r"cannot write the cache .*file/corpora: Not a directory; choose another", [book])
    monkeypatch.delenv("SEQSTATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert prepare([book], tokenizer="byte").folder.is_relative_to(tmp_path / "xdg" / "seqstate")


def test_a_text_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "growing.txt"
    path.write_text(prose(2000))

    def grow(stage, share):
        if stage == "training the tokenizer":
            path.write_text(prose(3000))

    refuse("growing changed while it was being read", [path], progress=grow)


def test_starvation_reads_a_corpus(book):
    shares = starvation(prepare([book], tokenizer="word"), range(1, 6))
    assert list(shares) == [1, 2, 3, 4, 5]
    assert shares[1] < shares[3] < shares[5]


def test_importing_is_light():
    code = "import sys, seqstate.text.store; print({'torch', 'duckdb', 'transformers'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_a_saved_vocabulary_of_a_corpus_loads_alone(tmp_path, book):
    corpus = prepare([book], tokenizer="bpe", vocab_size=300)
    corpus.tokenizer.save(tmp_path / "model" / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "model" / "tokenizer.json")
    assert np.array_equal(
        loaded.encode(book.read_text()), corpus.tokenizer.encode(book.read_text())
    )
