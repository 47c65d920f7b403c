"""CITATION.cff says what version 1.2.0 of the format asks for, and the version that pyproject.toml has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import seqstate

ROOT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
KEYS = {  # of the top level, by the schema of version 1.2.0
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi"),
    *("identifiers", "keywords", "license", "license-url", "message", "preferred-citation"),
    *("references", "repository", "repository-artifact", "repository-code", "title", "type"),
    *("url", "version"),
}
OF_REFERENCES = {"article", "blog", "generic", "report", "website"}  # the types that fit here


def test_the_keys_are_those_of_the_format():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"authors", "cff-version", "message", "title"} <= set(CITATION) <= KEYS
    assert CITATION["type"] == "software"
    assert all(isinstance(word, str) for word in CITATION["keywords"])
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"])


def test_the_software_is_this_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert CITATION["title"] == project["name"] == seqstate.__name__
    assert CITATION["version"] == project["version"] == seqstate.__version__
    assert CITATION["license"] == project["license"]
    assert CITATION["authors"] == [{"name": "seqstate developers"}]


def test_the_essay_is_cited_as_in_the_readme():
    (essay,) = CITATION["references"]
    assert essay["type"] in OF_REFERENCES
    assert essay["authors"] == [{"name": "catsmile.info"}]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert essay["title"] in readme
    assert f"({essay['year']}, <{essay['url']}>" in readme
    assert re.fullmatch(r"[a-z]{2,3}", essay["languages"][0])
