"""The page of a rule: the mistake, its reason and its fix, with a program that fails."""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_DOCS = (_PACKAGE / "docs", _PACKAGE.parent / "docs")  # in a wheel, and in a checkout
_LINK = re.compile(r"\[([^]]+)\]\(([\w./-]+\.md)(#[\w-]+)?\)")  # to another page


def page(code: str, *, elsewhere: bool = False) -> str:
    """The page of this rule, in Markdown. Links to other pages are paths of files that are installed here.

    Parameters
    ----------
    elsewhere
        It is read on another machine: such links are their text alone.
    """
    path = next((docs / "rules" / f"{code}.md" for docs in _DOCS if (docs / "rules" / f"{code}.md").is_file()), None)
    if path is None:
        raise FileNotFoundError(2, "the page of the rule is not installed", f"{code}.md")
    folder = path.parent

    def link(found: re.Match[str]) -> str:
        text, page, part = found.groups(default="")
        return text if elsewhere else f"[{text}]({(folder / page).resolve()}{part})"

    return _LINK.sub(link, path.read_text("utf-8"))
