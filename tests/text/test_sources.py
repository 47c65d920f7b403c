"""Documents come out whole, in order, whatever they were kept in; what is no text is named in one line."""

import gzip
import io
import json
import os
import threading
import tracemalloc

import duckdb
import pytest

from seqstate.text import sources
from seqstate.text.sources import documents, find

TEXT = "One line.\nTwo: 你好, \U0001f680!\n"


def read(*paths, **options):
    """Whole documents, as a list."""
    joined = []
    for text, starts, _ in documents(paths, **options):
        if starts:
            joined.append("")
        joined[-1] += text
    return joined


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def rows(*texts, field="text"):
    return "".join(json.dumps({"id": i, field: text}) + "\n" for i, text in enumerate(texts))


def parquet(path, texts, field="text"):
    with duckdb.connect() as connection:
        connection.execute(f'CREATE TABLE t (id INTEGER, "{field}" VARCHAR)')
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(texts)))
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def test_a_text_file_is_one_document(tmp_path):
    assert read(write(tmp_path / "a.txt", TEXT)) == [TEXT]
    assert read(write(tmp_path / "a.md", TEXT), write(tmp_path / "b.py", "x = 1")) == [
        TEXT,
        "x = 1",
    ]
    assert read(write(tmp_path / "a.txt.gz", gzip.compress(TEXT.encode()))) == [TEXT]


def test_a_line_of_jsonl_is_a_document(tmp_path):
    data = rows("one\nline", "你好", "", None, "\u2028 last") + "\n  \n"
    assert read(write(tmp_path / "a.jsonl", data)) == ["one\nline", "你好", "\u2028 last"]
    packed = write(tmp_path / "b.jsonl.gz", gzip.compress(rows("x", "y", field="body").encode()))
    assert read(packed, field="body") == ["x", "y"]
    assert read(write(tmp_path / "c.jsonl", rows("no line end")[:-1])) == ["no line end"]


def test_a_row_of_parquet_is_a_document(tmp_path):
    texts = [f"text {i} 你好" for i in range(600)]
    path = parquet(tmp_path / "a[1].parquet", [*texts, None, ""])
    assert read(path) == texts
    assert read(parquet(tmp_path / 'q".parquet', ["x"], field="my field"), field="my field") == [
        "x"
    ]


def test_folders_are_read_in_order_without_what_is_hidden_or_other(tmp_path):
    write(tmp_path / "b" / "z.txt", "b/z")
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "c.md", "c")
    for passed_over in ("picture.png", ".hidden.txt", ".git/x.txt", "b/script.py"):
        write(tmp_path / passed_over, "\0")
    write(tmp_path / "empty.txt", "")
    assert read(tmp_path) == ["a", "c", "b/z"]


def test_globs_are_sorted_and_no_file_is_read_twice(tmp_path):
    write(tmp_path / "b.txt", "b")
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "deep" / "c.txt", "c")
    write(tmp_path / "[1].txt", "brackets")
    os.symlink(tmp_path / "a.txt", tmp_path / "again.txt")
    assert read(tmp_path / "[ab].txt") == ["a", "b"]
    assert read(tmp_path / "**" / "c.txt") == ["c"]
    assert read(tmp_path / "dee*") == ["c"]
    assert read(tmp_path / "[1].txt") == ["brackets"]
    assert read(tmp_path / "a.txt", tmp_path, tmp_path / "a.txt") == ["a", "brackets", "b", "c"]


def test_standard_input_and_pipes_are_read(tmp_path, monkeypatch):
    def give(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    give(TEXT.encode())
    assert read("-") == [TEXT]
    give(rows("x", "y").encode())
    assert read("-", field="text") == ["x", "y"]
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_text, args=(TEXT,)).start()
    assert find([tmp_path / "pipe"])[0].once
    assert read(tmp_path / "pipe") == [TEXT]


def test_line_ends_and_byte_order_marks_are_as_in_text_mode(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfa\r\nb\rc\n\xef\xbb\xbf")
    assert read(path) == ["a\nb\nc\n\ufeff"]
    assert read(write(tmp_path / "b.txt", TEXT.encode("utf-16")), encoding="utf-16") == [TEXT]
    assert read(write(tmp_path / "c.txt", "café".encode("latin-1")), encoding="latin-1") == ["café"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_characters_and_line_ends_may_lie_across_reads(tmp_path, monkeypatch, size):
    monkeypatch.setattr(sources, "READ_BYTES", size)
    path = write(tmp_path / "a.txt", TEXT.replace("\n", "\r\n") + "\r")
    assert read(path) == [TEXT + "\n"]
    with pytest.raises(ValueError, match=r"at byte 36 \(line 3\): 0xff"):
        read(write(tmp_path / "b.txt", TEXT.encode() + b"1234567\xff890"))


def test_wrong_bytes_can_be_replaced_or_ignored(tmp_path):
    path = write(tmp_path / "a.txt", b"caf\xe9 au lait")
    assert read(path, errors="replace") == ["caf\ufffd au lait"]
    assert read(path, errors="ignore") == ["caf au lait"]
    half = write(tmp_path / "a.jsonl", '{"text": "a\\ud83d"}\n')
    assert read(half, errors="replace") == ["a?"]


def refuse(says, *paths, **options):
    with pytest.raises(ValueError, match=says) as error:
        read(*paths, **options)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_named(tmp_path):
    refuse(r"no such file or folder: .*absent.txt", tmp_path / "absent.txt")
    refuse(r"no filled file matches .*\*.csv", tmp_path / "*.csv")
    refuse(r"folder .* holds no filled .txt, .md, .jsonl", tmp_path)


def test_empty_files_are_named(tmp_path):
    refuse(r"a.txt is empty", write(tmp_path / "a.txt", ""))
    refuse(r"there is no text in .*b.txt", write(tmp_path / "b.txt", b"\xef\xbb\xbf"))
    refuse(r"there is no text in .*c.jsonl", write(tmp_path / "c.jsonl", rows("", None)))


def test_text_in_another_encoding_is_refused_with_its_place(tmp_path):
    path = write(tmp_path / "a.txt", b"one\ntwo\ncaf\xe9 au lait")
    refuse(r"a.txt is not utf-8 at byte 11 \(line 3\): 0xe9; try another --encoding", path)
    refuse(r"b.txt is not utf-8 at byte 3 \(line 1\)", write(tmp_path / "b.txt", b"abc\xe4\xbd"))
    refuse("begins like UTF-16", write(tmp_path / "c.txt", "abc".encode("utf-16")))
    refuse("unknown --encoding 'utf-9'; common ones are utf-8", path, encoding="utf-9")
    refuse("unknown --encoding 'rot13'", path, encoding="rot13")
    refuse("unknown --errors 'hope'; there are strict, replace", path, errors="hope")


def test_binary_files_are_refused(tmp_path):
    refuse(r"a.txt is a binary file \(a zero byte at 3\)", write(tmp_path / "a.txt", b"abc\0def"))
    refuse(
        r"b.bin is a binary file \(a zero character at line 1\)",
        write(tmp_path / "b.bin", b"ab\0\0cd"),
        encoding="utf-16-le",
    )


def test_jsonl_mistakes_are_named_with_their_line(tmp_path):
    good = rows("x")
    path = write(tmp_path / "a.jsonl", good + '{"body": "x", "id": 1}\n')
    refuse(r"a.jsonl, line 2 has no field 'text'; it has body, id; choose with --field", path)
    refuse(
        r"b.jsonl, line 2 is no JSON: .* column 10",
        write(tmp_path / "b.jsonl", good + '{"text": oops}'),
    )
    refuse(r"c.jsonl, line 1 is no JSON object", write(tmp_path / "c.jsonl", '["x"]\n'))
    refuse(r"line 1: field 'id' is a int, not text", write(tmp_path / "d.jsonl", good), field="id")
    refuse(r"half a surrogate pair \(U\+D83D\)", write(tmp_path / "e.jsonl", '{"text": "\\ud83d"}'))


def test_parquet_mistakes_are_named(tmp_path):
    path = parquet(tmp_path / "a.parquet", ["x"], field="body")
    refuse(r"a.parquet has no field 'text'; it has id, body; choose with --field", path)
    refuse(r"a.parquet, row 1: field 'id' is a int, not text", path, field="id")
    refuse(r"b.parquet is no parquet file", write(tmp_path / "b.parquet", TEXT))


def test_broken_gzip_files_are_named(tmp_path):
    refuse(r"a.txt.gz is no whole gzip file", write(tmp_path / "a.txt.gz", TEXT))
    whole = gzip.compress(os.urandom(1000).hex().encode())
    refuse(r"b.txt.gz is no whole gzip file", write(tmp_path / "b.txt.gz", whole[:-100]))


def test_a_file_far_longer_than_a_read_is_never_held_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "READ_BYTES", 1 << 14)
    path = write(tmp_path / "a.txt", "0123456789 \n" * 200_000)
    tracemalloc.start()
    length = sum(len(piece.text) for piece in documents([path]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == path.stat().st_size > 10 * peak
