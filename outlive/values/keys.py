"""Keys: what may be a key of a dict, or a member of a set, in a structure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection

import numpy as np

LONGEST_KEY = 64  # items of a tuple
_SAME_HASH = 64  # keys: others are looked at one by one for each, which takes time by their square
_SCALARS = (str, int, float, bool, type(None), bytes, complex)

_OF_ENUMS = tuple((kind.__hash__, kind.__eq__) for kind in (enum.Enum, str, int, float, bytes))


def are_keys(values: Collection[object]) -> bool:
    """Whether these may be the keys of one dict, or the members of one set."""
    if not all(map(is_key, values)):
        return False
    return len(values) <= _SAME_HASH or max(Counter(map(hash, values)).values()) <= _SAME_HASH


def is_key(value: object) -> bool:
    """Whether it may be a key or a member of a set: hashing it takes little time, and runs no code that data chose."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= LONGEST_KEY and all(type(one) is not tuple and is_key(one) for one in value)  # type: ignore[arg-type,attr-defined]
    if isinstance(value, enum.Enum):
        return (kind.__hash__, kind.__eq__) in _OF_ENUMS
    return kind in _SCALARS or isinstance(value, np.generic)
