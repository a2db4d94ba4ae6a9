"""The links of a page, and the headings that they may lead to, as GitHub and the site name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_NOT_IN_A_NAME = re.compile(r"[^\w\- ]")


def links(text: str) -> Iterator[str]:
    """The targets, without those on the web."""
    for match in _LINK.finditer(_CODE.sub("", text)):
        if "://" not in match[1]:
            yield match[1]


def anchors(text: str) -> set[str]:
    """The names of the headings.

    >>> sorted(anchors("# From `ray.put(_owner=...)` to outlive"))
    ['from-rayput_owner-to-outlive']
    """
    return {
        _NOT_IN_A_NAME.sub("", match[1]).lower().replace(" ", "-") for match in _HEADING.finditer(_CODE.sub("", text))
    }


def dead(page: Path, made: dict[Path, set[str]]) -> list[str]:
    """The links of this page that lead nowhere. `made` has the pages that have no file, and their headings."""
    return [link for link in links(page.read_text()) if not _leads(page, link, made)]


def _leads(page: Path, link: str, made: dict[Path, set[str]]) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if target in made:
        return not anchor or anchor in made[target]
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))
