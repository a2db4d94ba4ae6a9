"""The page of a rule: the mistake, its reason and its fix, with a program that fails."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "pages", _HERE.parents[1] / "docs" / "rules")  # the folder in a wheel, and in a checkout


def page(code: str) -> str:
    """The page of this rule, in Markdown."""
    for folder in _FOLDERS:
        path = folder / f"{code}.md"
        if path.is_file():
            return path.read_text("utf-8")
    raise FileNotFoundError(2, "the page of the rule is not installed", f"{code}.md")
