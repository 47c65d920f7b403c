"""docs/claims.md and docs/essay.md say what the committed records say."""

from pathlib import Path

import pytest

from seqstate.campaign import load_records
from seqstate.cli.claim import markdown
from seqstate.core import registry

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_of_claims_is_made_from_its_records():
    page = (DOCS / "claims.md").read_text(encoding="utf-8")
    wanted = markdown(DOCS / "records" / "claims")
    missing = [row for row in wanted.splitlines() if row not in page]
    assert not missing, "run: seqstate claim --markdown docs/records/claims, and put the rows there"


@pytest.mark.parametrize("name", registry.names("claims"))
def test_the_essay_page_names_every_claim_with_its_verdict(name):
    page = (DOCS / "essay.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if f"seqstate claim {name}" in line]
    assert rows, f"docs/essay.md does not say which idea {name} judges"
    records = list(load_records(DOCS / "records" / "claims" / name).values())
    word = registry.build("claims", name).verdict(records).word
    assert any(word in row.rpartition("` |")[2] for row in rows), f"{name} {word}: {rows}"
