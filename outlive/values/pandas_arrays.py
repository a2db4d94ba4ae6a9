"""The arrays of pandas: what a column, a series or an index holds, as plain data."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from outlive.errors import CorruptArray

_TEXT, _NONE, _NAN, _NA = range(4)  # what an item of an array of text is
_PLAIN = (str, int, float, bool, type(None))
_MOST_OBJECTS = 100_000
_MASKED = {*(f"{u}Int{bits}" for u in ("", "U") for bits in (8, 16, 32, 64)), "Float32", "Float64", "boolean"}


class Unknown(Exception):
    """A part that is not known to come back equal: the whole is pickled."""


def state_of(array: Any) -> Any:
    """An array of pandas, or of NumPy, as plain data.

    Raises
    ------
    Unknown
        It is not known to come back equal.
    ImportError
        It needs pyarrow, which is not there.
    """
    if type(array).__name__ in {"NumpyExtensionArray", "PandasArray"}:  # the latter before pandas 2.1
        array = np.asarray(array)
    dtype = array.dtype
    if isinstance(dtype, np.dtype):
        return _object_state(np.asarray(array)) if dtype.hasobject else np.asarray(array)
    if str(dtype) in _MASKED:
        return {"masked": array._data, "mask": array._mask}  # noqa: SLF001 - only so without a copy
    for kind, encode in _ENCODE.items():
        if isinstance(dtype, kind):
            return encode(array, dtype)
    raise Unknown


def array_of(state: Any) -> Any:
    """The array of such data."""
    return state if isinstance(state, np.ndarray) else _DECODE[next(iter(state))](state)


def _categorical_state(array: Any, dtype: Any) -> Any:
    return {"codes": array.codes, "categories": dtype.categories, "ordered": dtype.ordered}


def _categorical_of(state: Any) -> Any:
    dtype = pd.CategoricalDtype(state["categories"], state["ordered"])
    return pd.Categorical.from_codes(state["codes"], dtype=dtype)


def _times_state(array: Any, dtype: Any) -> Any:
    return {"utc": np.asarray(array.tz_convert(None)), "tz": _zone_state(dtype.tz)}


def _times_of(state: Any) -> Any:
    return pd.DatetimeIndex(state["utc"]).tz_localize("UTC").tz_convert(_zone_of(state["tz"])).array


def _periods_state(array: Any, dtype: Any) -> Any:
    if pd.PeriodDtype(str(dtype)) != dtype:
        raise Unknown
    return {"ordinals": array.asi8, "period": str(dtype)}


def _periods_of(state: Any) -> Any:
    return pd.arrays.PeriodArray(state["ordinals"], dtype=pd.PeriodDtype(state["period"]))


def _intervals_state(array: Any, _: Any) -> Any:
    return {"left": pd.Index(array.left), "right": pd.Index(array.right), "closed": array.closed}


def _intervals_of(state: Any) -> Any:
    return pd.arrays.IntervalArray.from_arrays(state["left"], state["right"], state["closed"])


def _masked_of(state: Any) -> Any:
    kinds = {"i": pd.arrays.IntegerArray, "u": pd.arrays.IntegerArray, "f": pd.arrays.FloatingArray}
    return kinds.get(state["masked"].dtype.kind, pd.arrays.BooleanArray)(state["masked"], state["mask"])


def _arrow_of(array: Any) -> Any:
    import pyarrow as pa

    found = array.__arrow_array__()
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _object_state(array: Any) -> Any:
    """An array of objects: text, or not too many other plain values, as labels are."""
    items = array.tolist()
    try:
        return _text_state(items)
    except Unknown:
        if len(items) > _MOST_OBJECTS or not all(map(_is_plain, items)):
            raise
        return {"objects": items}


def _is_plain(item: object) -> bool:
    return all(map(_is_plain, item)) if type(item) is tuple else type(item) in _PLAIN


def _text_state(items: list[Any]) -> Any:
    """Objects, if each is text or a usual marker for missing text."""
    kinds = np.fromiter(map(_kind, items), np.uint8, len(items))
    texts = [
        one.encode("utf-8", "surrogatepass") if kind == _TEXT else b"" for one, kind in zip(items, kinds, strict=True)
    ]
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), dtype=np.int64)
    return {
        "text": np.frombuffer(b"".join(texts), np.uint8) if texts else np.empty(0, np.uint8),
        "ends": ends,
        "kinds": kinds if kinds.any() else None,
    }


def _kind(item: object) -> int:
    if type(item) is str:
        return _TEXT
    if item is None:
        return _NONE
    if type(item) is float and math.isnan(item):
        return _NAN
    if item is pd.NA:
        return _NA
    raise Unknown


def _text_of(state: Any) -> Any:
    text, ends, kinds = state["text"].tobytes(), state["ends"], state["kinds"]
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: ends.size]
    if ends.ndim != 1 or (begins > ends).any() or (ends.size and (begins.min() < 0 or ends[-1] != len(text))):
        raise CorruptArray("a stored column of text is damaged: its ends do not fit it")
    places = zip(begins.tolist(), ends.tolist(), strict=True)
    items = _objects([text[a:b].decode("utf-8", "surrogatepass") for a, b in places])
    for kind, missing in ((_NONE, None), (_NAN, np.nan), (_NA, pd.NA)):
        if kinds is not None:
            items[kinds == kind] = missing
    return items


def _objects(items: list[Any]) -> Any:
    array = np.empty(len(items), object)
    for index, item in enumerate(items):  # all at once, a tuple would be a row
        array[index] = item
    return array


def _string_state(array: Any, dtype: Any) -> Any:
    na = getattr(dtype, "na_value", pd.NA)
    about = {"string": dtype.storage, "na": "NA" if na is pd.NA else "nan"}
    try:
        same = _string_dtype(about) == dtype
    except TypeError:  # before pandas 2.3 it has no na_value
        same = False
    if not same:
        raise Unknown
    if dtype.storage == "pyarrow":
        return {**about, "arrow": _arrow_of(array)}
    return {**about, "items": _text_state(array.to_numpy(object).tolist())}


def _string_of(state: Any) -> Any:
    dtype = _string_dtype(state)
    if "arrow" in state:
        return dtype.__from_arrow__(state["arrow"])
    return pd.array(_text_of(state["items"]), dtype=dtype)


def _string_dtype(about: Any) -> Any:
    if about["na"] == "NA":
        return pd.StringDtype(about["string"])
    return pd.StringDtype(about["string"], na_value=np.nan)


def _zone_state(zone: Any) -> Any:
    if zone is dt.timezone.utc:
        return {"utc": True}
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return {"zone": zone.key}
    if type(zone) is dt.timezone and zone == dt.timezone(zone.utcoffset(None)):
        return {"seconds": zone.utcoffset(None).total_seconds()}
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return {"pytz": zone.zone}
    raise Unknown


def _zone_of(state: Any) -> Any:
    if "utc" in state:
        return dt.timezone.utc
    if "seconds" in state:
        return dt.timezone(dt.timedelta(seconds=state["seconds"]))
    if "zone" in state:
        return zoneinfo.ZoneInfo(state["zone"])
    import pytz

    return pytz.timezone(state["pytz"])


_ENCODE: dict[type, Callable[[Any, Any], Any]] = {
    pd.CategoricalDtype: _categorical_state,
    pd.DatetimeTZDtype: _times_state,
    pd.PeriodDtype: _periods_state,
    pd.IntervalDtype: _intervals_state,
    pd.StringDtype: _string_state,
    pd.ArrowDtype: lambda array, _: {"arrow": _arrow_of(array)},
}
_DECODE: dict[str, Callable[[Any], Any]] = {
    "text": _text_of,
    "objects": lambda state: _objects(state["objects"]),
    "codes": _categorical_of,
    "utc": _times_of,
    "ordinals": _periods_of,
    "left": _intervals_of,
    "masked": _masked_of,
    "string": _string_of,
    "arrow": lambda state: pd.ArrowDtype(state["arrow"].type).__from_arrow__(state["arrow"]),
}
