"""The default corpus: the documentation that comes with the user's own Python, about 1.5 million characters.

The language reference's topics (`pydoc_data.topics`, what `help("topic")` shows) and the docstrings of the
public parts of a fixed list of standard-library modules, read as source: nothing is imported. A topic or a
module is a document; a paragraph of 40 characters or more that was there before is left out, so that none is
in training and held-out text at once. A Python that lacks parts gives what it has; another Python version
gives another text, which the corpus id shows.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from seqstate.text.chunks import Piece

SHORTEST_REPEAT = 40  # characters; shorter paragraphs are headings, which may come again
SHORTEST_DOCUMENT = 100  # characters; what is shorter is a heading whose text was elsewhere
MODULES = """
    abc argparse ast asyncio base64 bdb bisect bz2 calendar cmd code codecs codeop collections compileall
    concurrent configparser contextlib contextvars copy copyreg csv ctypes dataclasses datetime decimal
    difflib dis doctest email enum filecmp fileinput fnmatch fractions ftplib functools getopt getpass
    gettext glob graphlib gzip hashlib heapq hmac html http imaplib importlib inspect io ipaddress json
    keyword linecache locale logging lzma mailbox mimetypes modulefinder multiprocessing netrc numbers
    operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint
    profile pstats py_compile pyclbr pydoc queue quopri random re reprlib rlcompleter runpy sched secrets
    selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics
    string stringprep struct subprocess symtable sysconfig tarfile tempfile textwrap threading timeit
    token tokenize tomllib trace traceback tracemalloc types typing unittest urllib uuid venv warnings
    wave weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zoneinfo _collections_abc
    _pydatetime _pydecimal _pyio _strptime
""".split()  # noqa: SIM905


def default_name() -> str:
    """What the corpus is called: it is that of one Python version."""
    return f"python-{platform.python_version()}-docs"


def default_fingerprint(library: Path | None = None) -> str:
    """Changes when the text would, without reading it: names and sizes of the files it is made of."""
    library = library or _library()
    files = [_topics_file(library), *_module_files(library)]
    sizes = [
        (str(file.relative_to(library)), file.stat().st_size) for file in files if file.exists()
    ]
    return hashlib.sha256(repr((platform.python_version(), sizes)).encode()).hexdigest()


def default_documents(library: Path | None = None) -> Iterator[Piece]:
    """One piece a document, in a fixed order. library: the standard library's folder (None: this Python's).

    Raises ValueError when this Python has no documentation at all.
    """
    library, found = library or _library(), False
    seen: set[str] = set()
    for text in [*_topics(library), *_modules(library)]:
        fresh = _without_repeats(text, seen)
        if len(fresh) >= SHORTEST_DOCUMENT:
            found = True
            yield Piece(fresh, True)
    if not found:
        raise ValueError(
            f"this Python has no documentation to train on (no sources in {library}); give a TEXT"
        )


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _topics_file(library: Path) -> Path:
    return library / "pydoc_data" / "topics.py"


def _topics(library: Path) -> list[str]:
    file = _topics_file(library)
    if not file.exists():
        return []
    tables = [node.value for node in _parse(file).body if isinstance(node, ast.Assign)]
    topics = {key: text for table in tables for key, text in ast.literal_eval(table).items()}
    return [topics[name].strip() for name in sorted(topics)]


def _module_files(library: Path) -> list[Path]:
    files = []
    for module in MODULES:
        folder, tests = library / module, {"test", "tests"}
        inside = sorted(folder.rglob("*.py")) if folder.is_dir() else [library / f"{module}.py"]
        files += [file for file in inside if not tests & set(file.relative_to(library).parts)]
    return [file for file in files if file.exists()]


def _modules(library: Path) -> Iterator[str]:
    for file in _module_files(library):
        tree = _parse(file)
        yield "\n\n".join([ast.get_docstring(tree) or "", *_docstrings(tree, "")]).strip()


def _docstrings(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    """Of public classes and functions, each under its name and arguments, as `help` shows them."""
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        name = prefix + node.name
        if text := ast.get_docstring(node):
            called = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
            yield f"{name}{called}\n\n{text}"
        if isinstance(node, ast.ClassDef):
            yield from _docstrings(node, name + ".")


def _parse(file: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old escapes in the library's own strings
        return ast.parse(file.read_bytes())


def _without_repeats(text: str, seen: set[str]) -> str:
    kept = []
    for paragraph in re.split(r"\n\s*\n", text):
        words = " ".join(paragraph.split())
        if len(words) < SHORTEST_REPEAT or words not in seen:
            kept.append(paragraph)
        seen.add(words)
    return "\n\n".join(kept)
