"""The rules that are on: `--select` and `--ignore`, by code or prefix, as in ruff."""

from __future__ import annotations

import re
from collections.abc import Iterable

from outlive.lint.rules import RULES

ALL = "ALL"


class UnknownRule(ValueError):
    """No rule has this code or prefix. `outlive lint --rules` lists them."""


def parse(text: str) -> list[str]:
    """The codes and prefixes in a text, separated by commas or spaces.

    >>> parse("OUT1, out302")
    ['OUT1', 'OUT302']

    Raises
    ------
    UnknownRule
    """
    given = [part.upper() for part in re.split(r"[,\s]+", text) if part]
    for part in given:
        if part != ALL and not any(code.startswith(part) for code in RULES):
            known = ", ".join(RULES)
            raise UnknownRule(f"no rule is called {part!r}, nor begins so; there are {known}")
    return given


def selected(select: Iterable[str], ignore: Iterable[str]) -> frozenset[str]:
    """The codes of the rules that are on. The longer prefix wins. If both are equal, `ignore` wins.

    >>> sorted(selected(["OUT1"], ["OUT102"]))
    ['OUT101', 'OUT103']
    """
    wanted = list(select) or [ALL]
    return frozenset(code for code in RULES if _longest(code, wanted) > _longest(code, ignore))


def _longest(code: str, prefixes: Iterable[str]) -> int:
    return max(
        (0 if part == ALL else len(part) for part in prefixes if part == ALL or code.startswith(part)), default=-1
    )
