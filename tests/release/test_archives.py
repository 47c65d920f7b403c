"""The source archive has all that the wheel needs; a wheel without a compiler works, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff"]
FILES += ["CHANGELOG.md", "constraints.txt"]
DATA = {".py", ".j2", ".css", ".js", ".typed"}  # what an installed package needs
KERNEL = {".cpp", ".h"}


def sources(*suffixes: str) -> set[str]:
    package = ROOT / "src" / "seqstate"
    found = (
        path for path in package.rglob("*") if path.suffix in suffixes or path.name in suffixes
    )
    return {str(path.relative_to(ROOT / "src")) for path in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel) built from a copy, the wheel from the unpacked sdist, with no compiler to be found."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(
        ROOT / "src",
        copy / "src",
        ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"),
    )
    without = os.environ | {"CC": "no-compiler", "CXX": "no-compiler", "PYTHONPATH": ""}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def test_the_source_archive_holds_the_package_the_kernel_and_the_licence(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"src/{name}" for name in sources(*DATA, *KERNEL, "py.typed")}
    assert len(wanted) > 150
    assert wanted <= names, wanted - names
    assert set(FILES) <= names


def test_the_wheel_holds_the_package_and_no_sources_of_the_kernel(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    wanted = sources(*DATA, "py.typed")
    assert wanted <= names, wanted - names
    assert "seqstate/py.typed" in names
    assert not [name for name in names if Path(name).suffix in KERNEL]


def test_the_wheel_serves_every_python_from_3_11_on(built):
    assert "-cp311-abi3-" in built[1].name


def test_a_wheel_without_the_kernel_trains_and_generates(built, tmp_path):
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path / "installed")
    (tmp_path / "book.txt").write_text("The old man and the sea said no word to the boy.\n" * 80)
    alone = os.environ | {
        "PYTHONPATH": str(tmp_path / "installed"),
        "SEQSTATE_CACHE": str(tmp_path / "cache"),
    }
    code = (
        "import sys, seqstate\n"
        "from seqstate.cli import main\n"
        "assert seqstate.__file__.startswith(sys.argv[1]), seqstate.__file__\n"
        "options = ['--state', 'gru(width=16)', '--energy', 'multi_hamming(groups=4)']\n"
        "options += ['--steps', '2', '--batch-size', '2', '--context', '8', '--vocab-size', '300']\n"
        "assert main(['train', 'book.txt', *options, '--out', 'model']) == 0\n"
        "assert main(['generate', 'model', '--tokens', '5']) == 0\n"
        "assert main(['report', 'model']) == 0\n"
        "main(['--version'])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fused losses: torch tiles" in done.stdout, done.stdout
