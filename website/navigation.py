"""The order of the site's pages: as `mkdocs.yml` has it, and then what it does not name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
_RULES = "Lint rules"
_REST = "More"


def complete(nav: list[Any]) -> list[Any]:
    """The same with the pages of lint rules in their place, and all other pages of docs/ at the end."""
    named = set(_paths(nav))
    left = sorted(
        path for path in (each.relative_to(DOCS).as_posix() for each in DOCS.rglob("*.md")) if path not in named
    )
    rules = [path for path in left if path.startswith("rules/")]
    rest = [path for path in left if path not in rules]
    return [_with_rules(part, rules) for part in nav] + ([{_REST: rest}] if rest else [])


def _paths(part: Any) -> list[str]:
    if isinstance(part, str):
        return [part]
    parts = part.values() if isinstance(part, dict) else part
    return [path for each in parts for path in _paths(each)]


def _with_rules(part: Any, rules: list[str]) -> Any:
    if not isinstance(part, dict):
        return part
    ((title, inner),) = part.items()
    if title == _RULES:
        return {title: rules}
    return {title: [_with_rules(each, rules) for each in inner] if isinstance(inner, list) else inner}
