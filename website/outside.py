"""Pages of the site whose files are not in docs/: README.md is its first page, for example."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

ROOT = Path(__file__).parents[1]
PAGES = {  # the file, by its page in docs/
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "measuring.md": "benchmarks/README.md",
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")


def pages() -> dict[str, str]:
    """The text of each page, by its path in docs/."""
    return {path: (ROOT / file).read_text() for path, file in PAGES.items()}


def linked(text: str, page: str) -> str:
    """The text of the page with its relative links as the site has them."""
    file = PAGES.get(page, f"docs/{page}")
    places = {source: path for path, source in PAGES.items()}

    def moved(link: re.Match[str]) -> str:
        target = normpath(join(dirname(file), link[0]))
        return relpath(places.get(target, target.removeprefix("docs/")), start=dirname(page) or ".")

    return _LINK.sub(moved, text)
