"""The folder is the registry; errors teach."""

import subprocess
import sys

import pytest

from seqstate.core import registry
from seqstate.core.energy import Energy


def test_a_misspelt_part_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown state 'ltsm', did you mean 'lstm'"):
        registry.build("states", "ltsm(width=8)")


def test_a_misspelt_option_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="lstm has no option 'widht', did you mean 'width'"):
        registry.build("states", "lstm(widht=8)")


def test_every_part_has_a_catalogue_entry_and_a_class():
    for kind in registry.KINDS:
        for name in registry.names(kind):
            entry = registry.summary(kind, name)
            assert 20 <= len(entry) <= 120, f"{kind}/{name}: {entry!r}"
            assert isinstance(registry.find(kind, name), type)


def test_a_part_from_outside_the_package_is_found_by_its_dotted_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from seqstate.energies.inner import Inner\n"
        "from seqstate.core.energy import Energy\n"
        "class Doubled(Energy):\n"
        "    def __init__(self, *, width=8):\n"
        "        super().__init__()\n"
        "        self.width, self.inner = width, Inner(width=width, scale=2.0)\n"
        "    def forward(self, query, keys):\n"
        "        return self.inner(query, keys)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(registry.build("energies", "mine.Doubled(width=16)"), Energy)
    with pytest.raises(ValueError, match="cannot load the energy 'mine.Missing'"):
        registry.build("energies", "mine.Missing")


def test_parts_are_imported_by_class_name():
    from seqstate.energies import MultiHamming
    from seqstate.states import LSTM

    assert MultiHamming(width=16, groups=4).over(11).vocab_size == 11
    assert LSTM(width=16).width == 16


def test_listing_and_help_import_no_torch():
    code = (
        "import sys; from seqstate.cli import main; main(['ls']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'plotly', 'numpy', 'duckdb')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
