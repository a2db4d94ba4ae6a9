"""pandas' frames, series and indexes: the arrays that they consist of, so that numbers are read without a copy.

Arrays that are not known to come back equal (most objects, sparse columns, other libraries' arrays) are pickled, each
with all that it belongs to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from outlive.errors import CorruptArray
from outlive.values.pandas_arrays import Unknown, array_of, state_of
from outlive.values.registry import register

# --- indexes


def _encode_index(index: Any) -> Any:
    kind = type(index)
    try:
        if kind.__module__.partition(".")[0] != "pandas":
            return NotImplemented
        if kind is pd.RangeIndex:
            return {"range": [index.start, index.stop, index.step], "name": index.name}
        if kind is pd.MultiIndex:
            return {"levels": list(index.levels), "codes": list(index.codes), "names": list(index.names)}
        state = {"array": state_of(index.array), "name": index.name}
    except (Unknown, ImportError):
        return NotImplemented
    if kind in {pd.DatetimeIndex, pd.TimedeltaIndex} and index.freq is not None:
        state["freq"] = index.freq.freqstr
    try:
        again = _decode_index(state)
    except (ValueError, TypeError):  # a frequency of the program's own, as with holidays
        return NotImplemented
    same = type(again) is kind and getattr(again, "freq", None) == getattr(index, "freq", None)
    return state if same else NotImplemented


def _decode_index(state: Any) -> Any:
    if "range" in state:
        return pd.RangeIndex(*state["range"], name=state["name"])
    if "levels" in state:
        return pd.MultiIndex(state["levels"], state["codes"], names=state["names"])
    array = array_of(state["array"])
    if "freq" in state:
        kind = pd.TimedeltaIndex if array.dtype.kind == "m" else pd.DatetimeIndex
        return kind(array, freq=state["freq"], name=state["name"])
    return pd.Index(array, dtype=array.dtype, name=state["name"], copy=False)


# --- series and frames


def _common(value: Any) -> dict[str, Any]:
    unique = {} if value.flags.allows_duplicate_labels else {"unique": True}
    return {"index": value.index, "attrs": dict(value.attrs), **unique}


def _with_common(made: Any, state: Any) -> Any:
    made.attrs = state["attrs"]
    return made.set_flags(allows_duplicate_labels=False) if "unique" in state else made


def _encode_series(series: Any) -> Any:
    try:
        return {"array": state_of(series.array), "name": series.name, **_common(series)}
    except (Unknown, ImportError):
        return NotImplemented


def _decode_series(state: Any) -> Any:
    array = array_of(state["array"])
    return _with_common(pd.Series(array, state["index"], array.dtype, state["name"], copy=False), state)


def _encode_frame(frame: Any) -> Any:
    dtypes = set(frame.dtypes)
    try:
        if len(dtypes) == 1 and isinstance(only := dtypes.pop(), np.dtype) and not only.hasobject:
            return {"block": frame.to_numpy(), "labels": frame.columns, **_common(frame)}
        columns = [state_of(frame.iloc[:, number].array) for number in range(frame.shape[1])]
    except (Unknown, ImportError):
        return NotImplemented
    return {"columns": columns, "labels": frame.columns, **_common(frame)}


def _decode_frame(state: Any) -> Any:
    index, labels = state["index"], state["labels"]
    if "block" in state:
        made = pd.DataFrame(state["block"], index, labels, copy=False)
    else:
        arrays = map(array_of, state["columns"])
        columns = {number: pd.Series(one, index, one.dtype, copy=False) for number, one in enumerate(arrays)}
        made = pd.DataFrame(columns, index, copy=False)
        if len(labels) != len(columns):
            raise CorruptArray(f"a stored frame is damaged: it has {len(columns)} columns and {len(labels)} labels")
        made.columns = labels
    return _with_common(made, state)


register(pd.DataFrame, _encode_frame, _decode_frame, name="pandas.frame", private=True)
register(pd.Series, _encode_series, _decode_series, name="pandas.series", private=True)
register(pd.Index, _encode_index, _decode_index, name="pandas.index", subclasses=True, private=True)
