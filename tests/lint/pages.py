"""The programs on the rules' pages, and what they are said to print."""

from __future__ import annotations

import re
from typing import NamedTuple

from outlive.lint import RULES
from outlive.lint.pages import page

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Program(NamedTuple):
    code: str
    prints: str


def programs(rule: str) -> tuple[Program, Program]:
    """The one that fails, and the one that works."""
    found = []
    for title in ("Fails", "Works"):
        section = page(rule).split(f"\n## {title}\n")[1].split("\n## ")[0]
        (kind, code), (other, prints) = _BLOCK.findall(section)
        assert (kind, other) == ("python", "text")
        found.append(Program(code, prints))
    return found[0], found[1]


ALL = list(RULES)
