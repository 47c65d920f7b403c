"""docs/claims.md says what the committed records say."""

from pathlib import Path

from seqstate.cli.claim import markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_of_claims_is_made_from_its_records():
    page = (DOCS / "claims.md").read_text(encoding="utf-8")
    wanted = markdown(DOCS / "records" / "claims")
    missing = [row for row in wanted.splitlines() if row not in page]
    assert not missing, "run: seqstate claim --markdown docs/records/claims, and put the rows there"
