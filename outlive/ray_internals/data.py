"""Ray Data: what asks for an array while a column is made.

Source: ray/data/_internal/numpy_support.py, `convert_to_numpy` (2.49 to 2.60). It takes whatever has `__array__` and
`__len__` for a tensor, and has no way for a type to say that it is none.
"""

from __future__ import annotations

from types import FrameType

_MODULE = "ray.data._internal.numpy_support"


def asks_for_item(caller: FrameType, value: object) -> bool:
    """Whether the caller of a value's `__array__` is Ray Data, and the value is one item of a column, not all of it."""
    return caller.f_globals.get("__name__") == _MODULE and caller.f_locals.get("column_values") is not value
