"""Every rung in every mode of generation, and the table of them in the documentation."""

from pathlib import Path

import pytest

from hub.modes import MODES
from hub.rungs import hub_model, label, rungs
from hub.table import with_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "huggingface.md"


@pytest.mark.filterwarnings("ignore:.*did not converge:UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rung", rungs(), ids=label)
def test_every_rung_writes_in_every_mode(rung, mode):
    MODES[mode](hub_model(rung))


def test_the_table_of_the_documentation_is_this_grid():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run: PYTHONPATH=tests python -m hub.table docs/huggingface.md"
