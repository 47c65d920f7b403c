"""Pairs: read line by line with clear refusals, split by source, batched by length."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from seqstate.text.pair_batches import PairBatches, Pairs
from seqstate.text.pairs import pair_fields, separator_of
from seqstate.text.sources import documents
from seqstate.text.store import prepare
from seqstate.text.tokenizer import Tokenizer

FIELDS = ("source", "target")


def read(path, fields=FIELDS):
    return [piece.text for piece in documents([path], pairs=fields)]


def test_a_line_of_a_tsv_is_a_pair(tmp_path):
    plain, packed = tmp_path / "a.tsv", tmp_path / "a.tsv.gz"
    text = "cat\tK AE T\r\n\n dog \tD AO G\n"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    assert read(plain) == read(packed) == ["cat\tK AE T", "dog\tD AO G"]


def test_two_fields_of_a_jsonl_are_a_pair(tmp_path):
    rows = tmp_path / "a.jsonl"
    rows.write_text(json.dumps({"en": "two\nlines", "zh": "两行", "id": 3}) + "\n")
    assert read(rows, ("en", "zh")) == ["two\nlines\t两行"]


BAD = {
    "one column": ("a.tsv", "a\tb\ncat\n", "line 2 has 1 column; wanted 2"),
    "three columns": ("a.tsv", "a\tb\nc\td\ne\tf\tg\n", "line 3 has 3 columns; wanted 2"),
    "no target": ("a.tsv", "a\tb\nc\t \n", "line 2: the target is empty"),
    "no source": ("a.tsv", "\tb\n", "line 1: the source is empty"),
    "no field": ("a.jsonl", '{"source": "a", "traget": "b"}\n', "line 1 has no field 'target'"),
    "a number": ("a.jsonl", '{"source": "a", "target": 3}\n', "field 'target' is a int, not text"),
    "a tab": ("a.jsonl", '{"source": "a\\tb", "target": "c"}\n', "line 1: field 'source' holds a tab"),
    "no json": ("a.jsonl", '{"source": "a", "target": "c"}\nx\n', "line 2 is no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_one_line_with_its_number(tmp_path, case):
    name, text, said = BAD[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as refusal:
        read(tmp_path / name)
    assert said in str(refusal.value)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_tsv_files_are_pairs_without_asking_and_mixing_is_refused():
    assert pair_fields(["a.tsv", "b.TSV.gz"], None) == FIELDS
    assert pair_fields(["a.jsonl"], "en, zh") == ("en", "zh")
    assert pair_fields(["a.txt"], None) is None
    with pytest.raises(ValueError, match="give one kind"):
        pair_fields(["a.tsv", "b.txt"], None)
    for asked in ("en", "en,", "a,b,c"):
        with pytest.raises(ValueError, match="two fields"):
            pair_fields(["a.jsonl"], asked)


@pytest.fixture
def corpus(tmp_path):
    """Every source has three targets."""
    rng, lines = np.random.default_rng(0), []
    for number in range(120):
        word = "".join(rng.choice(list("abcde"), size=rng.integers(2, 9))) + str(number)
        lines += [f"{word}\t{word[::-1]}{variant}\n" for variant in "xyz"]
    rng.shuffle(lines)
    (tmp_path / "words.tsv").write_text("".join(lines))
    return prepare([tmp_path / "words.tsv"], tokenizer="char", cache=tmp_path / "cache")


def sources(corpus, ids):
    pairs = Pairs.find(ids, corpus.tokenizer.boundary, corpus.separator)
    return [corpus.tokenizer.decode(pairs.source(i)[1:-1]) for i in range(len(pairs))]


def test_no_source_is_in_training_and_held_out_at_once(corpus):
    train, valid = (sources(corpus, ids) for ids in (corpus.train, corpus.valid))
    assert len(train) + len(valid) == 360
    assert 18 <= len(valid) <= 54
    assert not set(train) & set(valid)


def test_too_few_pairs_are_refused_in_one_line(tmp_path):
    (tmp_path / "few.tsv").write_text("a\t" + "b" * 2000 + "\n" + "c\t" + "d" * 2000 + "\n")
    with pytest.raises(ValueError, match="few has 2 pairs, too few to hold out 10%"):
        prepare([tmp_path / "few.tsv"], tokenizer="char", cache=tmp_path / "cache")


def test_the_same_lines_as_text_and_as_pairs_are_two_corpora(tmp_path, corpus):
    rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text().splitlines()]
    as_rows = tmp_path / "rows.jsonl"
    as_rows.write_text("".join(json.dumps({"text": f"{a}\t{b}"}) + "\n" for a, b in rows))
    text = prepare([as_rows], tokenizer="char", cache=tmp_path / "cache")
    assert text.separator is None
    assert text.id.rpartition("-")[2] != corpus.id.rpartition("-")[2]


def test_rows_ask_for_the_target_and_its_end_and_nothing_else():
    ids = np.array([0, 5, 6, 1, 7, 8, 0, 5, 1, 9], np.uint16)
    pairs = Pairs.find(ids, 0, 1)
    tokens, targets = pairs.rows(np.array([1, 0]), unasked=-100)
    none = -100
    assert tokens.tolist() == [[0, 5, 1, 9, 1, 1], [0, 5, 6, 1, 7, 8]]
    assert targets.tolist() == [[none, none, 9, 0, none, none], [none, none, none, 7, 8, 0]]
    assert pairs.source(0) == [0, 5, 6, 1]
    assert pairs.target(0) == [7, 8]
    assert pairs.targets().tolist() == [7, 8, 9]


@pytest.mark.parametrize("ids", [[0, 5, 6], [0, 5, 1, 6, 1, 7], [5, 0, 1, 6], [1, 0, 5], []])
def test_what_is_no_pairs_is_refused(ids):
    with pytest.raises(ValueError, match="this text is no pairs"):
        Pairs.find(np.array(ids, np.uint16), 0, 1)


@pytest.mark.parametrize("parts", [1, 3])
def test_every_epoch_reads_every_pair_once_in_batches_of_the_asked_size(corpus, parts):
    pairs = Pairs.find(corpus.train, corpus.tokenizer.boundary, corpus.separator)
    batches = PairBatches(pairs, tokens=300, parts=parts, seed=4, unasked=-100)
    count = len(batches.cuts) + 1
    seen = [batches.batch(index) for index in range(2 * count)]
    for epoch in (seen[:count], seen[count:]):
        rows = [row[row != -100].tolist() for _, targets, _ in epoch for row in targets]
        left_out = len(pairs) - len(rows)
        assert left_out == len(pairs) % parts
        every = sorted([*pairs.target(i), 0] for i in range(len(pairs)))
        if not left_out:
            assert sorted(rows) == every
    assert all(tokens.size <= 300 and len(tokens) % parts == 0 for tokens, _, _ in seen)
    assert any(
        not np.array_equal(a[0], b[0]) for a, b in zip(seen[:count], seen[count:], strict=True)
    )
    padding = np.mean([(tokens == corpus.separator).sum() - len(tokens) for tokens, _, _ in seen])
    assert padding / 300 < 0.1


def test_a_batch_is_a_function_of_its_number(corpus):
    pairs = Pairs.find(corpus.train, corpus.tokenizer.boundary, corpus.separator)
    one, other = (PairBatches(pairs, tokens=200, parts=1, seed=4, unasked=-100) for _ in range(2))
    for index in (7, 0, 91, 7):
        for left, right in zip(one.batch(index), other.batch(index), strict=True):
            assert np.array_equal(left, right)


def test_a_tokenizer_without_a_tab_is_refused():
    with pytest.raises(ValueError, match="no token for a tab"):
        separator_of(Tokenizer.train("char", ["aabb"]))
    for kind in ("byte", "bpe", "word", "char"):
        tokenizer = Tokenizer.train(kind, ["cat\tK AE T\n" * 40], 300 if kind == "bpe" else None)
        assert tokenizer.decode([separator_of(tokenizer)]) == "\t"
        assert (tokenizer.encode("cat\tK AE T") == separator_of(tokenizer)).sum() == 1
