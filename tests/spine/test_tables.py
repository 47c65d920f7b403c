"""The generated tables in docs name what there is."""

from pathlib import Path

import pytest
from laws.grid import model_specs
from laws.measures import LAWS

from seqstate.core import registry

DOCS = Path(__file__).parents[2] / "docs"


def first_cells(text: str) -> set[str]:
    return {line.split(" | ")[0].strip("| `") for line in text.splitlines() if line.startswith("|")}


@pytest.mark.parametrize("document", ["seams.md", "rungs.md"])
def test_every_rung_has_its_row(document):
    missing = set(registry.names("states")) - first_cells((DOCS / document).read_text())
    assert not missing, f"make {document} again with the command it opens with"


def test_every_construction_of_the_laws_has_its_row_and_every_law_its_column():
    text = (DOCS / "seams.md").read_text()
    wanted = {state if energy in (None, "inner") else energy for state, energy in model_specs()}
    missing = wanted - first_cells(text)
    assert not missing, "run: python benchmarks/seams.py --write docs/seams.md"
    assert all(f" {law} |" in text for law in LAWS)


def test_no_law_is_broken_by_our_own():
    ours, found, _ = (DOCS / "seams.md").read_text().partition("## The same laws over other")
    assert found
    rows = [line for line in ours.splitlines() if line.startswith("| `")]
    assert len(rows) >= len(model_specs())
    assert not [row for row in rows if "**" in row]
