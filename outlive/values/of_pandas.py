"""pandas' frames, series and indexes: the arrays that they consist of, so that numbers are read without a copy.

Arrays that are not known to come back equal (most objects, sparse columns, other libraries' arrays) are pickled, each
with all that it belongs to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from outlive.errors import CorruptArray
from outlive.values import parts
from outlive.values.pandas_arrays import LABELS, NUMBERS, Unknown, array_of, codes_dtype, index_of, numbers, state_of
from outlive.values.registry import register

try:
    from pandas.api.internals import create_dataframe_from_blocks as _of_blocks
except ImportError:  # before pandas 3
    _of_blocks = None

# --- indexes


def _encode_index(index: Any) -> Any:
    kind = type(index)
    try:
        if kind.__module__.partition(".")[0] != "pandas":
            return NotImplemented
        if kind is pd.RangeIndex:
            state = {"range": [index.start, index.stop, index.step], "name": index.name}
        elif kind is pd.MultiIndex:
            state = _levels_state(index)
        else:
            state = {"array": state_of(index.array), "name": index.name}
    except (Unknown, ImportError):
        return NotImplemented
    if kind in {pd.DatetimeIndex, pd.TimedeltaIndex} and index.freq is not None:
        state["freq"] = index.freq.freqstr
    try:
        again = _decode_index(state)
    except (ValueError, TypeError):  # a frequency of the program's own, as with holidays; codes beyond their level
        return NotImplemented
    same = type(again) is kind and getattr(again, "freq", None) == getattr(index, "freq", None)
    return state if same else NotImplemented


def _decode_index(state: Any) -> Any:
    if "levels" in state:
        return _levels(state)
    name = parts.label(state["name"])
    if "range" in state:
        return pd.RangeIndex(*state["range"], name=name)
    part = state["array"]
    array = numbers(part, kinds=LABELS) if isinstance(part, np.ndarray) else array_of(part)
    if "freq" in state:
        kind = pd.TimedeltaIndex if array.dtype.kind == "m" else pd.DatetimeIndex
        return kind(array, freq=state["freq"], name=name, copy=False)
    return pd.Index(array, dtype=array.dtype, name=name, copy=False)


def _levels_state(index: Any) -> Any:
    """The parts of a MultiIndex, each an object that nothing else has."""
    levels = [level.view() for level in index.levels]
    codes = [one.astype(codes_dtype(len(level))) for level, one in zip(levels, index.codes, strict=True)]
    return {"levels": levels, "codes": codes, "names": list(index.names)}


def _levels(state: Any) -> Any:
    levels, codes, names = parts.distinct(state["levels"]), parts.distinct(state["codes"]), state["names"]
    for level, one in zip(levels, codes, strict=True):
        index_of(level)
        rows = parts.array(one, "i").size
        if one.dtype != codes_dtype(len(level)) or (type(level) is pd.RangeIndex and len(level) > max(1 << 16, rows)):
            raise TypeError("a level or codes that would be made anew")
    return pd.MultiIndex(levels, codes, names=[parts.label(name) for name in names])


# --- series and frames


def _common(value: Any) -> dict[str, Any]:
    unique = {} if value.flags.allows_duplicate_labels else {"unique": True}
    return {"index": value.index, "attrs": dict(value.attrs), **unique}


def _with_common(made: Any, state: Any) -> Any:
    if type(state["attrs"]) is not dict:
        raise TypeError("no attributes")
    made.attrs = state["attrs"]
    return made.set_flags(allows_duplicate_labels=False) if "unique" in state else made


def _encode_series(series: Any) -> Any:
    try:
        return {"array": state_of(series.array), "name": parts.label(series.name), **_common(series)}
    except (Unknown, ImportError, TypeError):
        return NotImplemented


def _decode_series(state: Any) -> Any:
    array, index = array_of(state["array"]), index_of(state["index"])
    if len(array) != len(index):  # pandas would stretch it
        raise CorruptArray(f"a stored series is damaged: it has {len(array)} values and {len(index)} rows")
    return _with_common(pd.Series(array, index, array.dtype, parts.label(state["name"]), copy=False), state)


def _encode_frame(frame: Any) -> Any:
    dtypes = set(frame.dtypes)
    try:
        if len(dtypes) == 1 and isinstance(only := dtypes.pop(), np.dtype) and only.kind in NUMBERS and only.itemsize:
            return {"block": frame.to_numpy(), "labels": frame.columns, **_common(frame)}
        columns = [_own(state_of(frame.iloc[:, number].array)) for number in range(frame.shape[1])]
    except (Unknown, ImportError):
        return NotImplemented
    return {"columns": columns, "labels": frame.columns, **_common(frame)}


def _own(state: Any) -> Any:
    """A state that no other column has: a reader takes none for two columns."""
    return state.view() if isinstance(state, np.ndarray) else state


def _frame(arrays: list[Any], index: Any, labels: Any) -> Any:
    """A frame of columns that are all as long as its index."""
    if _of_blocks is None:
        columns = {number: pd.Series(one, index, one.dtype, copy=False) for number, one in enumerate(arrays)}
        made = pd.DataFrame(columns, index, copy=False)
        made.columns = labels
        return made
    places = np.arange(len(arrays)).reshape(-1, 1)
    blocks = [one[np.newaxis] if isinstance(one, np.ndarray) else one for one in arrays]
    return _of_blocks(list(zip(blocks, places, strict=True)), index, labels)


def _decode_frame(state: Any) -> Any:
    index, labels = index_of(state["index"]), index_of(state["labels"])
    if "block" in state:
        block = numbers(state["block"], 2)
        if block.shape != (len(index), len(labels)):
            raise CorruptArray(f"a stored frame is damaged: it has {block.shape} numbers, for {len(index)} rows")
        made = pd.DataFrame(block, index, labels, copy=False)
    else:
        arrays = [array_of(one) for one in parts.distinct(state["columns"])]
        if len(labels) != len(arrays):
            raise CorruptArray(f"a stored frame is damaged: it has {len(arrays)} columns and {len(labels)} labels")
        if any(len(one) != len(index) for one in arrays):
            raise CorruptArray("a stored frame is damaged: its columns have other lengths than its index")
        made = _frame(arrays, index, labels)
    return _with_common(made, state)


register(pd.DataFrame, _encode_frame, _decode_frame, name="pandas.frame", private=True)
register(pd.Series, _encode_series, _decode_series, name="pandas.series", private=True)
register(pd.Index, _encode_index, _decode_index, name="pandas.index", subclasses=True, private=True)
