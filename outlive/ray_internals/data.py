"""Ray Data: what asks for an array while a column is made.

Source: Ray 2.49 to 2.60. `convert_to_numpy` (ray/data/_internal/numpy_support.py) takes whatever has `__array__` and
`__len__` for a tensor, and has no way for a type to say that it is none. `to_numpy` of a column of objects, and what
pandas has in its place, fill an array of objects by `array[:] = list`, for which NumPy asks each object for its array,
and drops it. `_ravel_tensors` (tensor_extensions/arrow.py) does what `convert_to_numpy` does, for columns that are
arrays of objects. In Ray 2.49 both folders are in ray/air/util.
"""

from __future__ import annotations

from types import FrameType

_MODULES = {
    "ray.data._internal.numpy_support",
    *(
        f"{place}.{module}"
        for place in ("ray.data._internal", "ray.air.util")
        for module in (
            "object_extensions.arrow", "object_extensions.pandas", "tensor_extensions.arrow", "tensor_extensions.utils",
        )
    ),
}  # fmt: skip
_COLUMN = "column_values", "values"
"""The names that these functions have for the whole column."""


def asks_for_item(caller: FrameType, value: object) -> bool:
    """Whether the caller of a value's `__array__` is Ray Data, and the value is one item of a column, not all of it."""
    if caller.f_globals.get("__name__") not in _MODULES:
        return False
    names = caller.f_locals
    return all(names.get(name) is not value for name in _COLUMN)
