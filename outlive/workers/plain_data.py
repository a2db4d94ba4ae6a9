"""The content of a YAML file as Python data: reading and replacing the value at a path, and comparing two values."""

from __future__ import annotations

import copy
import itertools
from typing import Any

YamlPath = tuple[Any, ...]
"""A path: the number of the document, then keys and indices."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, in their types too: 1, 1.0 and true are three values."""
    pairs, seen = [(one, other)], set()
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict | list):
            if (id(a), id(b)) in seen:
                continue
            seen.add((id(a), id(b)))
            if len(a) != len(b) or (isinstance(a, dict) and _keys(a) != _keys(b)):
                return False
            pairs += [(a[key], b[key]) for key in a] if isinstance(a, dict) else list(zip(a, b, strict=True))
        elif a != b and not (a != a and b != b):  # noqa: PLR0124 - nan is nan here
            return False
    return True


def _keys(data: dict[Any, Any]) -> set[tuple[type, Any]]:
    return {(type(key), key) for key in data}


def changed(data: list[Any], path: YamlPath, value: Any) -> list[Any]:
    """The data with another value at the path. Other uses of a shared value do not change."""
    made = list(data)
    here: Any = made
    for key, following in itertools.pairwise(path):
        below = here[key] if isinstance(here, list) or key in here else None
        fresh: Any = [] if isinstance(following, int) else {}
        here[key] = copy.copy(below) if below is not None else fresh
        here = here[key]
        if not isinstance(here, dict | list):
            raise ValueError(f"{key} is no mapping")  # noqa: TRY004
    here[path[-1]] = value
    return made


def without(data: list[Any], path: YamlPath) -> list[Any]:
    """The data without a key."""
    parent = dict(at(data, path[:-1]))
    del parent[path[-1]]
    return changed(data, path[:-1], parent)


def at(data: Any, path: YamlPath) -> Any:
    for key in path:
        data = data[key]
    return data
