"""xarray's datasets and data arrays: the arrays of their variables, with dims, coordinates, attributes and encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex

from outlive.errors import UnsupportedArray
from outlive.values import parts
from outlive.values.registry import register

_TIMES = ("DatetimeIndex", "TimedeltaIndex")
_UNITS = {(unit, 1) for unit in ("s", "ms", "us", "ns")}
_INDEXES = frozenset({"Index", "RangeIndex", "CFTimeIndex", *_TIMES})
"""Indexes of pandas that xarray makes again of their values. Others have more than these."""


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


def _encode_coordinate(name: Any, one: Any, index: Any) -> Any:
    """A variable, and the frequency of its index if it has one."""
    state = _encode_variable(one)
    if index is None or state is NotImplemented:
        return state
    if type(index).__name__ not in _INDEXES or index.name != name:
        return NotImplemented
    if state["data"].dtype.kind in "US":  # a reader makes an index of its own of them
        state["data"] = state["data"].copy()
    freq = getattr(index, "freq", None)
    if freq is not None and type(index).__name__ in _TIMES:
        state["freq"] = freq.freqstr
        try:
            return state if _times_of(state).freq == freq else NotImplemented
        except (ValueError, TypeError):  # a frequency of the program's own
            return NotImplemented
    return state


def _times_of(state: Any) -> Any:
    kind = pd.TimedeltaIndex if state["data"].dtype.kind == "m" else pd.DatetimeIndex
    return kind(state["data"], freq=state["freq"], copy=False)


def _is_plain(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and np.dtype(dtype.str) == dtype and not dtype.hasobject


def _decode_variable(state: Any) -> Any:
    encoding = {**_dict(state["encoding"]), **{name: np.dtype(one) for name, one in state.get("dtypes", {}).items()}}
    dims, data = tuple(map(parts.label, state["dims"])), state["data"]
    if not isinstance(data, np.ndarray) or data.ndim != len(dims):  # or it would be made of lists
        raise TypeError("a variable without an array of its dimensions")
    if data.dtype.kind in "mM" and np.datetime_data(data.dtype) not in _UNITS:
        parts.once(data)  # it becomes times of another unit
    if "freq" in state:
        data = _times_of({**state, "data": parts.array(data, "mM")})
    return xr.Variable(dims, data, _dict(state["attrs"]), encoding)


def _decode_coordinate(name: Any, state: Any) -> Any:
    dtype = getattr(state["data"], "dtype", np.dtype("O"))
    if state["dims"] == [name] and (dtype.kind not in "biufcmM" or dtype == np.float16):
        parts.once(state["data"])  # it becomes an index of objects, or of longer numbers
    return _decode_variable(state)


def _dict(part: Any) -> Any:
    if type(part) is not dict:
        raise TypeError("no dict")
    return part


def _encode_variables(variables: Any) -> Any:
    return _pairs({name: _encode_variable(one) for name, one in variables.items()})


def _encode_coordinates(value: Any) -> Any:
    indexes = value.indexes
    return _pairs({n: _encode_coordinate(n, one.variable, indexes.get(n)) for n, one in value.coords.items()})


def _pairs(states: dict[Any, Any]) -> Any:
    try:
        pairs = [[parts.label(name), state] for name, state in states.items()]
    except TypeError:
        return NotImplemented
    return NotImplemented if any(state is NotImplemented for _, state in pairs) else pairs


def _decode_pairs(pairs: Any, decode: Any) -> dict[Any, Any]:
    parts.once(*(state for _, state in parts.distinct(pairs)))
    return {parts.label(name): decode(name, state) for name, state in pairs}


def _has_plain_indexes(value: Any) -> bool:
    """Whether each coordinate that is the only one of its dimension has the index that xarray makes by itself."""
    plain = {name for name, one in value.coords.items() if one.dims == (name,)}
    return set(value.xindexes) == plain and all(type(one) is PandasIndex for one in value.xindexes.values())


def _encode_dataset(dataset: Any) -> Any:
    if not _has_plain_indexes(dataset):
        return NotImplemented
    variables = _encode_variables({name: one.variable for name, one in dataset.data_vars.items()})
    coords = _encode_coordinates(dataset)
    if variables is NotImplemented or coords is NotImplemented:
        return NotImplemented
    return {"variables": variables, "coords": coords, "attrs": dict(dataset.attrs), "encoding": dict(dataset.encoding)}


def _decode_dataset(state: Any) -> Any:
    variables = _decode_pairs(state["variables"], lambda _, one: _decode_variable(one))
    dataset = xr.Dataset(variables, _decode_pairs(state["coords"], _decode_coordinate), _dict(state["attrs"]))
    dataset.encoding = _dict(state["encoding"])
    return dataset


def _encode_data_array(array: Any) -> Any:
    if not _has_plain_indexes(array):
        return NotImplemented
    variable = _encode_variable(array.variable)
    coords = _encode_coordinates(array)
    if variable is NotImplemented or coords is NotImplemented:
        return NotImplemented
    return {"variable": variable, "coords": coords, "name": array.name}


def _decode_data_array(state: Any) -> Any:
    variable = _decode_variable(state["variable"])
    coords = _decode_pairs(state["coords"], _decode_coordinate)
    array = xr.DataArray(variable.data, coords, variable.dims, parts.label(state["name"]), variable.attrs)
    array.encoding = variable.encoding
    return array


register(xr.Dataset, _encode_dataset, _decode_dataset, name="xarray.dataset", private=True)
register(xr.DataArray, _encode_data_array, _decode_data_array, name="xarray.data_array", private=True)
