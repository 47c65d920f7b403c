"""The default corpus is this Python's own documentation, the same each time, without repeats."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqstate.text.chunks import Piece
from seqstate.text.default import default_documents, default_fingerprint, default_name
from seqstate.text.store import prepare


@pytest.fixture(scope="module")
def texts():
    return [piece.text for piece in default_documents()]


def test_it_is_big_enough_to_learn_from_and_falls_into_many_documents(texts):
    assert sum(map(len, texts)) > 1_000_000
    assert len(texts) > 200
    assert max(map(len, texts)) < 0.1 * sum(map(len, texts))
    assert any("context manager" in text for text in texts)
    assert "python-3." in default_name()


def test_no_paragraph_comes_twice(texts):
    paragraphs = [" ".join(p.split()) for text in texts for p in re.split(r"\n\s*\n", text)]
    long = [paragraph for paragraph in paragraphs if len(paragraph) >= 40]
    assert len(long) == len(set(long)) > 5_000


MODULE = f'''"""{"The module's own text. " * 10}"""
def load(file, *, strict=True):
    """Read one.

    Shared between two places, word for word, all of it.
    """
class Reader:
    """Reads."""
    def read(self):
        "Its method."
    def _hidden(self):
        "Not public."
'''
DECODER = f'''"""{"Another module. " * 10}

Shared between two places, word  for word, all of it.
"""
PATH = "\\d"
'''


def library(folder: Path) -> Path:
    for name, source in {
        "json/__init__.py": MODULE,
        "json/decoder.py": DECODER,
        "pydoc_data/topics.py": f"topics = {{'b': 'second', 'a': {'first topic ' * 20!r}}}",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)
    return folder


def test_every_process_reads_the_same_text_and_imports_nothing_of_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from seqstate.text.default import *;"
        "folder = Path(sys.argv[1]); texts = [piece.text for piece in default_documents(folder)];"
        "print((texts, default_fingerprint(folder), 'pydoc_data' in sys.modules))"
    )
    folder = library(tmp_path)
    here = [piece.text for piece in default_documents(folder)]
    for seed in ("1", "2"):
        shown = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        assert shown.strip() == repr((here, default_fingerprint(folder), False))


def test_docstrings_stand_under_their_names_and_repeats_go(tmp_path):
    topic, module, decoder = (piece.text for piece in default_documents(library(tmp_path)))
    assert topic == ("first topic " * 20).strip()
    assert "load(file, *, strict=True)\n\nRead one.\n\nShared between" in module
    assert "Reader\n\nReads.\n\nReader.read(self)\n\nIts method." in module
    assert "Not public" not in module
    assert decoder.strip() == ("Another module. " * 10).strip()


def test_a_python_that_lacks_parts_gives_what_it_has_under_another_fingerprint(tmp_path):
    folder = library(tmp_path)
    whole = default_fingerprint(folder)
    shutil.rmtree(folder / "pydoc_data")
    assert len(list(default_documents(folder))) == 2
    assert default_fingerprint(folder) != whole
    shutil.rmtree(folder / "json")
    with pytest.raises(ValueError, match=r"this Python has no documentation .* give a TEXT"):
        list(default_documents(folder))


def test_it_is_prepared_by_topic_and_module_and_kept(texts, tmp_path, monkeypatch):
    pieces = [Piece(text, True) for text in texts]
    monkeypatch.setattr("seqstate.text.texts.default_documents", lambda: iter(pieces))
    corpus = prepare(tokenizer="byte", cache=tmp_path)
    assert corpus.id.startswith(f"python-{platform.python_version()}-docs-")
    assert corpus.train_documents + corpus.valid_documents == len(texts)
    assert 0.08 < corpus.valid_bytes / (corpus.train_bytes + corpus.valid_bytes) < 0.12
    monkeypatch.setattr("seqstate.text.texts.default_documents", lambda: pytest.fail("read again"))
    assert prepare(tokenizer="char", cache=tmp_path).train_bytes == corpus.train_bytes
