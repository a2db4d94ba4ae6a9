"""Columns of handles that become columns of arrays, as Ray Data's own readers make them."""

from __future__ import annotations

from typing import Any

import numpy as np

from outlive.errors import UnsupportedArray
from outlive.store.handle import ArrayHandle

_KEPT = "biuf"  # kinds of dtypes whose numbers Ray Data's columns keep


def arrays(batch: dict[str, Any]) -> dict[str, Any]:
    """For `Dataset.map_batches`: every column of handles becomes a column of their arrays, for code that knows no
    handles, as `iter_torch_batches`. The arrays are copied into Ray's object store.

    The numbers are the same. Their bytes are in the order of this machine: Ray Data would read others wrongly. An array
    without dimensions becomes a number.

    Raises
    ------
    UnsupportedArray
        Ray Data would change an array: its dtype is no plain number, or another one than that of the batch's others.
    ArrayNotFound, ArrayLost
        See `ArrayHandle.get`.

    Examples
    --------
    >>> scans = outlive.open("scans").put_many([np.ones(3), np.zeros(3)])
    >>> sorted(row["data"].tolist() for row in read(scans).map_batches(arrays).iter_rows())
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return {name: _arrays(name, column) if _has_handles(column) else column for name, column in batch.items()}


def _has_handles(column: Any) -> bool:
    return len(column) > 0 and all(isinstance(one, ArrayHandle) for one in column)


def _arrays(name: str, column: Any) -> list[np.ndarray[Any, Any]]:
    found = [_array(name, handle) for handle in column]
    dtypes = {one.dtype for one in found}
    if len(dtypes) > 1:
        raise UnsupportedArray(
            f"arrays of the column {name!r} have the dtypes {', '.join(sorted(map(str, dtypes)))}, of which Ray Data "
            "would make one: convert them by handle.get().astype(...), or keep the handles"
        )
    return found


def _array(name: str, handle: ArrayHandle) -> np.ndarray[Any, Any]:
    if handle.kind != "array" or handle.dtype.kind not in _KEPT or handle.dtype.itemsize > 8:
        what = f"a {handle.dtype} array" if handle.kind == "array" else f"a value of the kind {handle.kind!r}"
        raise UnsupportedArray(
            f"{what} is in the column {name!r}, and Ray Data's columns have none: keep the handle, and call its get() "
            "in the function that needs it"
        )
    found: np.ndarray[Any, Any] = handle.get()
    return found.astype(found.dtype.newbyteorder("="), copy=False)
