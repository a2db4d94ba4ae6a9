"""What mkdocs calls while it builds the site: see `mkdocs.yml`."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.structure.files import File, Files

from website import commands, navigation, outside, python

_NAMED = re.compile(r"^```python (\S+)$", re.MULTILINE)
_PAGE = re.compile(r"\bdocs/([\w-]+)\.md\b(?!</a>)")
_THEME = ("site.css", "iframe-worker.js")


def on_config(config: Any) -> Any:
    """Name the pages that `mkdocs.yml` does not."""
    config.nav = navigation.complete(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that no file of docs/ has."""
    made = {commands.PAGE: commands.page(), **python.pages(), **outside.pages()}
    made |= {f"theme/{name}": (outside.ROOT / "website" / name).read_text() for name in _THEME}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link the pages that docstrings name."""
    return (
        _PAGE.sub(r'<a href="../\1.html">docs/\1.md</a>', html) if page.file.src_uri.startswith("reference/") else html
    )


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn what only GitHub or the tests understand into what mkdocs does."""
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]  # the list at the left would have one entry
    text = _NAMED.sub(r'```python title="\1"', markdown)
    return outside.linked(text, page.file.src_uri)
