"""Words that a line must contain for a regular expression to match. Looking for words first is many times faster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

_SHORTEST = 3


def required_words(pattern: str) -> tuple[str, ...]:
    """Words such that every match of `pattern` contains at least one of them; `("",)` if there are none.

    Examples
    --------
    >>> required_words(r"has been marked dead|Raylet is (?:gone|terminated)")
    ('has been marked dead', 'Raylet is ')
    """
    words = tuple(max(_runs(part), key=len, default="") for part in _alternatives(pattern))
    return words if all(len(word) >= _SHORTEST for word in words) else ("",)


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled when first needed. Compiling all of them would take longer than reading a text."""
    return re.compile(pattern)


def _alternatives(pattern: str) -> Iterator[str]:
    """The parts between the `|` that stand outside of groups."""
    begin = 0
    for at, sign, depth in _signs(pattern):
        if sign == "|" and depth == 0:
            yield pattern[begin:at]
            begin = at + 1
    yield pattern[begin:]


def _runs(part: str) -> Iterator[str]:
    """The literal pieces of an alternative that stand outside of groups and are not optional."""
    run = ""
    for _, sign, depth in _signs(part):
        if sign in {"?", "*", "{"}:
            yield run[:-1]  # the last letter may be missing
            run = ""
        elif depth == 0 and len(sign) == 1 and sign not in ".^$+()[]|}":
            run += sign
        elif depth == 0 and len(sign) == 2 and not sign[1].isalnum():
            run += sign[1]  # an escaped sign stands for itself
        else:
            yield run
            run = ""
    yield run


def _signs(pattern: str) -> Iterator[tuple[int, str, int]]:
    r"""Each sign (a letter, or an escape such as `\d`), its place, and its depth in groups and classes."""
    depth = at = 0
    in_class = in_count = False
    while at < len(pattern):
        sign = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        inside = depth + in_class + in_count
        if in_class:
            in_class = sign != "]"
        elif in_count:
            in_count = sign != "}"
        elif sign == "[":
            in_class, inside = True, inside + 1
        elif sign == "{":
            in_count = True
        elif sign == "(":
            depth, inside = depth + 1, inside + 1
        elif sign == ")":
            depth -= 1
        yield at, sign, inside
        at += len(sign)
