"""Keys: what may be a key of a dict, or a member of a set, in a structure."""

from __future__ import annotations

import enum

import numpy as np

LONGEST_KEY = 64  # items of a tuple
_SCALARS = (str, int, float, bool, type(None), bytes, complex)


def is_key(value: object) -> bool:
    """Whether it may be a key or a member of a set: hashing it takes little time, and runs no code that data chose."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= LONGEST_KEY and all(type(one) is not tuple and is_key(one) for one in value)  # type: ignore[arg-type,attr-defined]
    return kind in _SCALARS or isinstance(value, np.generic | enum.Enum)
