"""outlive for xarray: data arrays that read a stored array when they are used, and not before.

Needs the extra `outlive[xarray]`. See docs/howto/xarray.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from outlive.extras import named
from outlive.store.handle import ArrayHandle

try:
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing
except ModuleNotFoundError as error:
    raise named(error) from None

__all__ = ["open_data_array"]


def open_data_array(
    handle: ArrayHandle,
    dims: Sequence[Hashable] | None = None,
    *,
    coords: Mapping[Any, Any] | None = None,
    name: Hashable = None,
    attrs: Mapping[Any, Any] | None = None,
) -> xr.DataArray:
    """A lazy `xarray.DataArray` of a stored array: nothing is read before its values are needed, and then what is.

    Slices of it are lazy too. If the array is on another node, only the rows that are used are moved. Otherwise its
    values are a view of shared memory. It can be pickled.

    Writing to a part of it, as `scan[{"y": 0}] = 1`, copies it first, and does not reach the store. But values that
    were read are read-only: those of `scan.values`, and of `scan` after `scan.load()`. So are they for `scan += 1`.
    Write to `scan.copy()`, or take `scan + 1`.

    `xarray.DataArray(handle)` reads the array at once, as NumPy does: if it is on this node, without a copy.

    Parameters
    ----------
    dims, coords, name, attrs
        As for `xarray.DataArray`.

    Raises
    ------
    TypeError
        The handle names a value that is no array.
    ValueError
        `dims` or `coords` do not fit its shape.

    Examples
    --------
    >>> handle = outlive.open("scans").put(np.arange(12).reshape(3, 4))
    >>> scan = open_data_array(handle, ("y", "x"), coords={"y": [10, 20, 30]}, name="ct")
    >>> scan.sel(y=20).values
    array([4, 5, 6, 7])
    """
    lazy = indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(_Stored(handle)))
    if dims is None:
        dims = [f"dim_{axis}" for axis in range(handle.ndim)]  # as xarray does
    variable = xr.Variable(dims, lazy, attrs)
    return xr.DataArray(variable, coords, name=name)


class _Stored(BackendArray):  # type: ignore[misc]  # mypy does not look into xarray
    """A stored array, as xarray reads those of files.

    Not a duck array: xarray would then hand the handle itself to every function of NumPy. Here all of xarray's own
    laziness works: slices of slices are merged, and `chunk()` makes dask arrays.
    """

    def __init__(self, handle: ArrayHandle) -> None:
        self.handle, self.shape, self.dtype = handle, handle.shape, handle.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, index: Any) -> Any:
        return np.asarray(self.handle[index])

    def __dask_tokenize__(self) -> object:
        return self.handle.__dask_tokenize__()
