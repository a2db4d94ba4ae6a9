"""xarray's datasets and data arrays: the arrays of their variables, with dims, coordinates, attributes and encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from outlive.errors import UnsupportedArray
from outlive.values.registry import register


def _encode_variable(variable: Any) -> Any:
    if variable.chunks is not None:
        raise UnsupportedArray(
            "this xarray value is lazy (dask), and storing it would compute it: store value.compute(), or its parts"
        )
    if type(variable) is not xr.IndexVariable and type(variable.data) is not np.ndarray:
        return NotImplemented  # an array of another library: sparse, or with units
    data = variable.data if type(variable.data) is np.ndarray else variable.values
    if type(variable) not in (xr.Variable, xr.IndexVariable) or data.dtype != variable.dtype:
        return NotImplemented
    dtypes = {name: one.str for name, one in variable.encoding.items() if _is_plain(one)}
    encoding = {name: one for name, one in variable.encoding.items() if name not in dtypes}
    state = {"dims": list(variable.dims), "data": data, "attrs": dict(variable.attrs), "encoding": encoding}
    return {**state, "dtypes": dtypes} if dtypes else state


def _is_plain(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and np.dtype(dtype.str) == dtype and not dtype.hasobject


def _decode_variable(state: Any) -> Any:
    encoding = {**state["encoding"], **{name: np.dtype(one) for name, one in state.get("dtypes", {}).items()}}
    return xr.Variable(tuple(state["dims"]), state["data"], state["attrs"], encoding)


def _encode_variables(variables: Any) -> Any:
    pairs = [[name, _encode_variable(one)] for name, one in variables.items()]
    return NotImplemented if any(state is NotImplemented for _, state in pairs) else pairs


def _has_plain_indexes(value: Any) -> bool:
    """Whether each coordinate that is the only one of its dimension has the index that xarray makes by itself."""
    plain = {name for name, one in value.coords.items() if one.dims == (name,)}
    return set(value.xindexes) == plain and all(type(one) is PandasIndex for one in value.xindexes.values())


def _encode_dataset(dataset: Any) -> Any:
    if not _has_plain_indexes(dataset):
        return NotImplemented
    variables = _encode_variables({name: one.variable for name, one in dataset.data_vars.items()})
    coords = _encode_variables({name: one.variable for name, one in dataset.coords.items()})
    if variables is NotImplemented or coords is NotImplemented:
        return NotImplemented
    return {"variables": variables, "coords": coords, "attrs": dict(dataset.attrs), "encoding": dict(dataset.encoding)}


def _decode_dataset(state: Any) -> Any:
    variables = {name: _decode_variable(one) for name, one in state["variables"]}
    coords = {name: _decode_variable(one) for name, one in state["coords"]}
    dataset = xr.Dataset(variables, coords, state["attrs"])
    dataset.encoding = state["encoding"]
    return dataset


def _encode_data_array(array: Any) -> Any:
    if not _has_plain_indexes(array):
        return NotImplemented
    variable = _encode_variable(array.variable)
    coords = _encode_variables({name: one.variable for name, one in array.coords.items()})
    if variable is NotImplemented or coords is NotImplemented:
        return NotImplemented
    return {"variable": variable, "coords": coords, "name": array.name}


def _decode_data_array(state: Any) -> Any:
    variable = _decode_variable(state["variable"])
    coords = {name: _decode_variable(one) for name, one in state["coords"]}
    array = xr.DataArray(variable.data, coords, variable.dims, state["name"], variable.attrs)
    array.encoding = variable.encoding
    return array


register(xr.Dataset, _encode_dataset, _decode_dataset, name="xarray.dataset", private=True)
register(xr.DataArray, _encode_data_array, _decode_data_array, name="xarray.data_array", private=True)
