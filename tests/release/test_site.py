"""The documentation site: built without a warning or a network, complete, true to the docstrings."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import seqstate
from seqstate.core import registry

ROOT = Path(__file__).resolve().parents[2]
LOADING = {"src", "srcset", "poster", "data"}  # attributes a browser fetches by itself
LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "modulepreload", "manifest"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return out


class Fetched(HTMLParser):
    """Addresses a browser asks for when it shows a page, in the order of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.found += [value for name, value in given.items() if name in LOADING]
        if tag == "link" and LINKS & set(given.get("rel", "").split()):
            self.found.append(given.get("href", ""))
        self.found += in_style(given.get("style", ""))

    def handle_data(self, data):
        if self.cdata_elem == "style":
            self.found += in_style(data)


def in_style(text: str) -> list[str]:
    return re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s;]+)", text)


def fetched(page: Path) -> list[str]:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def outside(address: str) -> bool:
    return re.match(r"(?:[a-z]+:)?//", address, flags=re.IGNORECASE) is not None


def test_the_pages_ask_nothing_of_the_network(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        found = fetched(page)
        assert any(address.endswith(".css") for address in found), page
        assert not [address for address in found if outside(address)], page
    for sheet in site.rglob("*.css"):
        assert not [one for one in in_style(sheet.read_text(encoding="utf-8")) if outside(one)]


def test_an_address_of_the_network_would_be_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="preload stylesheet" href="https://a/b.css"><script src="//c/d.js"></script>'
        '<style>@import "https://e/f.css"; p { background: url(https://g/h.png) }</style>'
        '<a href="https://not/fetched">x</a><img src="here.png">'
    )
    assert [one for one in fetched(page) if outside(one)] == [
        "https://a/b.css",
        "//c/d.js",
        "https://e/f.css",
        "https://g/h.png",
    ]


@pytest.mark.parametrize("kind", ["states", "energies", "screens", "tasks", "instruments"])
def test_every_part_is_in_the_reference_with_its_class(site, kind):
    page = (site / "api" / f"{kind}.html").read_text(encoding="utf-8")
    for name in registry.names(kind):
        part = registry.find(kind, name)
        assert f'id="seqstate.{kind}.{name}.{part.__name__}"' in page, name


def test_every_public_name_is_in_the_reference(site):
    page = (site / "api" / "seqstate.html").read_text(encoding="utf-8")
    for name in seqstate.__all__:
        if name != "__version__":
            value = getattr(seqstate, name)
            assert f'id="{value.__module__}.{name}"' in page, name


def test_formulas_of_docstrings_are_shown_as_written(site):
    page = (site / "api" / "energies.html").read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert "E = -scale <h, w>. What every common language model uses" in shown
    assert "E = sum_d tau_d D(a_d abs(h_d - w_d)), D from 0 to 1." in shown
