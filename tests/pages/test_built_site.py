"""The site as it is built: without a warning, whole without a network, and its search finds something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.dashboard import browser as driven
from tests.pages import browser
from tests.pages.page import DOCS

PYTHON = Path(sys.prefix) / "docs" / "bin" / "python"
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_FROM_ELSEWHERE = re.compile(r"url\(\s*['\"]?https?:|@import\s+['\"]?https?:")


class Html(HTMLParser):
    """What a page loads, what it leads to, and its own anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.leads, self.anchors = list[str](), list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if (name := _LOADED.get(tag)) and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded += [found[name]] if name in found else []
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])
        self.anchors |= {found[name] for name in ("id", "name") if name in found}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needed = [PYTHON, "-c", "import mkdocs, mkdocstrings, material"]
    if not PYTHON.exists() or subprocess.run(needed, capture_output=True, check=False).returncode:
        pytest.skip("mkdocs is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [PYTHON, "-m", "mkdocs", "build", "--strict", "--config-file", "website/mkdocs.yml", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(command, cwd=DOCS.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    return {page: Html(page.read_text()) for page in site.rglob("*.html")}


def test_every_page_is_there(site: Path) -> None:
    missing = [page for page in DOCS.rglob("*.md") if not (site / page.relative_to(DOCS)).with_suffix(".html").exists()]
    assert missing == []
    assert 'id="outlive.Store.put"' in (site / "reference" / "outlive.html").read_text()


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Html]) -> None:
    loaded = {address for page in pages.values() for address in page.loaded}
    assert [address for address in loaded if urlsplit(address).scheme not in ("", "data")] == []
    assert [style for style in site.rglob("*.css") if _FROM_ELSEWHERE.search(style.read_text())] == []


def test_no_link_is_dead(site: Path, pages: dict[Path, Html]) -> None:
    assert list(_dead(site, pages)) == []


def _dead(site: Path, pages: dict[Path, Html]) -> Iterator[str]:
    for page, html in pages.items():
        for address in [*html.leads, *html.loaded]:
            parts = urlsplit(address)
            if parts.scheme or page.name == "404.html":  # that one is for servers, whose root it takes for its own
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchored = not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
            if not target.exists() or not anchored:
                yield f"{page.relative_to(site)}: {address}"


def test_the_search_finds_something_without_a_network(site: Path, tmp_path: Path) -> None:
    if not browser.NAME:
        pytest.skip("there is no chromium: apt-get install chromium")
    text = browser.shown(site / "index.html", "q=ReferenceCountingAssertionError", tmp_path / "browser")
    found = re.findall(r'<a href="[^"]*?([\w./-]+\.html)[^"]*" class="md-search-result__link"', text)
    assert any("reference-counting" in address for address in found), found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_fit_narrow_screens_and_can_be_read(site: Path, tmp_path: Path, dark: bool) -> None:
    if not browser.NAME:
        pytest.skip("there is no chromium: apt-get install chromium")
    scheme = "slate" if dark else "default"
    with driven.browser(tmp_path / "browser") as page:
        page.size(400, dark=dark)
        for name in ("index", "tutorial", "howto/owner-died", "reference/outlive", "reference/commands", "limits"):
            page.open(f"file://{site}/{name}.html")
            page.until(f"location.href.endsWith('{name}.html') && document.body.dataset.mdColorScheme === '{scheme}'")
            assert page.eval("document.documentElement.scrollWidth <= innerWidth"), (name, "is wider than the window")
            assert (name, page.eval(driven.FAINT)) == (name, [])
        page.open(f"file://{site}/index.html?q=OwnerDiedError")
        page.until("!!document.querySelector('.md-search-result__link')")
        assert page.eval(driven.FAINT) == []
