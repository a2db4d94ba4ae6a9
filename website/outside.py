"""Pages of the site whose files are not in docs/: README.md is the first one, and each program that a page links to."""

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
_LANGUAGES = {".py": "python", ".sh": "sh", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


def pages() -> dict[str, str]:
    """The text of each page, by its path in docs/."""
    made = {path: (ROOT / file).read_text() for path, file in PAGES.items()}
    docs = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    targets = {_target(link, page) for page, text in {**docs, **made}.items() for link in _LINK.findall(text)}
    return made | {_source_page(file): _source(file) for file in targets if _is_source(file)}


def linked(text: str, page: str) -> str:
    """The text of the page with its relative links as the site has them."""
    places = {file: path for path, file in PAGES.items()}

    def moved(link: re.Match[str]) -> str:
        target = _target(link[0], page)
        place = _source_page(target) if _is_source(target) else places.get(target, target.removeprefix("docs/"))
        return relpath(place, start=dirname(page) or ".")

    return _LINK.sub(moved, text)


def _target(link: str, page: str) -> str:
    """The path of a linked file in the project."""
    return normpath(join(dirname(PAGES.get(page, f"docs/{page}")), link))


def _is_source(file: str) -> bool:
    return file not in PAGES.values() and not file.startswith(("docs/", "..")) and (ROOT / file).is_file()


def _source_page(file: str) -> str:
    return f"source/{file}.md"


def _source(file: str) -> str:
    language = _LANGUAGES.get(Path(file).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {file}\n\n````{language}\n{(ROOT / file).read_text()}````\n"
