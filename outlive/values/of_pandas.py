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
from outlive.values.pandas_arrays import LABELS, Unknown, array_of, codes_dtype, index_of, numbers, state_of
from outlive.values.pandas_blocks import frame_of, in_runs, runs, split
from outlive.values.pandas_labels import index_of_plain, is_plain, plain_index
from outlive.values.pandas_plans import plan_frame
from outlive.values.registry import plan_by, register

# --- indexes


def _encode_index(index: Any) -> Any:
    kind = type(index)
    try:
        if kind.__module__.partition(".")[0] != "pandas":
            return NotImplemented
        if (plain := plain_index(index)) is not None:
            return parts.Form(plain, [])
        if kind is pd.RangeIndex:
            state = {"range": [index.start, index.stop, index.step], "name": index.name}
        elif kind is pd.MultiIndex:
            state = _levels_state(index)
        elif type(array := state_of(index.array)) is parts.Form:
            return parts.Form({}, [array, index.name])
        else:
            state = {"array": array, "name": index.name}
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
    if type(state) is parts.Form:
        return index_of_plain(state.about) if state.about else _index(array_of(state.parts[0]), state.parts[1])
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
    return _index(array, name)


def _index(array: Any, name: Any) -> Any:
    return pd.Index(array, dtype=array.dtype, name=parts.label(name), copy=False)


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


def _form(value: Any, about: dict[str, Any], of: list[Any], **indexes: Any) -> Any:
    """The form of a series or a frame. Behind its own parts are those that are no JSON: indexes, a name, attributes."""
    for place, index in indexes.items():
        about[place] = plain_index(index)
        if about[place] is None:
            of.append(index)
    if value.ndim == 1:
        about["named"] = is_plain(value.name)
        if about["named"]:
            about["name"] = value.name
        else:
            of.append(parts.label(value.name))
    if value.attrs:
        of.append(dict(value.attrs))
    return parts.Form({**about, "attrs": bool(value.attrs), "unique": not value.flags.allows_duplicate_labels}, of)


def _with_common(made: Any, attrs: Any, *, unique: bool) -> Any:
    if attrs is not None:
        if type(attrs) is not dict:
            raise TypeError("no attributes")
        made.attrs = attrs
    return made.set_flags(allows_duplicate_labels=False) if unique else made


def _next_index(about: dict[str, Any], place: str, rest: Any) -> Any:
    plain = about[place]
    return index_of(next(rest)) if plain is None else index_of_plain(plain)


def _encode_series(series: Any) -> Any:
    try:
        return _form(series, {}, [state_of(series.array)], index=series.index)
    except (Unknown, ImportError, TypeError):
        return NotImplemented


def _decode_series(state: Any) -> Any:
    if type(state) is not parts.Form:
        return _series(
            state["array"], index_of(state["index"]), state["name"], state["attrs"], unique="unique" in state
        )
    about, rest = state.about, iter(state.parts)
    array, index = next(rest), _next_index(about, "index", rest)
    name = about["name"] if about["named"] else next(rest)
    return _series(array, index, name, next(rest) if about["attrs"] else None, unique=about["unique"])


def _series(part: Any, index: Any, name: Any, attrs: Any, *, unique: bool) -> Any:
    array = array_of(part)
    if len(array) != len(index):  # pandas would stretch it
        raise CorruptArray(f"a stored series is damaged: it has {len(array)} values and {len(index)} rows")
    return _with_common(pd.Series(array, index, array.dtype, parts.label(name), copy=False), attrs, unique=unique)


def _encode_frame(frame: Any) -> Any:
    try:
        blocks, others = split(frame)
        states = [state_of(frame.iloc[:, place].array) for place in others]
    except (Unknown, ImportError):
        return NotImplemented
    about = {"blocks": [runs(places) for places, _ in blocks], "columns": runs(others)}
    return _form(frame, about, [*(block for _, block in blocks), *states], labels=frame.columns, index=frame.index)


def _decode_frame(state: Any) -> Any:
    if type(state) is not parts.Form:
        return _decode_older(state)
    about, rest = state.about, iter(state.parts)
    blocks = [numbers(next(rest), 2) for _ in about["blocks"]]
    columns = [next(rest) for _ in range(in_runs(about["columns"]))]
    parts.differ([*blocks, *columns])
    arrays = [array_of(one) for one in columns]
    labels, index = _next_index(about, "labels", rest), _next_index(about, "index", rest)
    made = frame_of(blocks, about["blocks"], arrays, about["columns"], index, labels)
    return _with_common(made, next(rest) if about["attrs"] else None, unique=about["unique"])


def _decode_older(state: Any) -> Any:
    """A frame as version 0.2.0 stored it: one block, or column by column."""
    index, labels = index_of(state["index"]), index_of(state["labels"])
    if "block" in state:
        block = numbers(state["block"], 2).T
        made = frame_of([block], [[0, len(block)]], [], [], index, labels)
    else:
        arrays = [array_of(one) for one in parts.distinct(state["columns"])]
        made = frame_of([], [], arrays, [0, len(arrays)] if arrays else [], index, labels)
    return _with_common(made, state["attrs"], unique="unique" in state)


register(pd.DataFrame, _encode_frame, _decode_frame, name="pandas.frame", private=True)
register(pd.Series, _encode_series, _decode_series, name="pandas.series", private=True)
register(pd.Index, _encode_index, _decode_index, name="pandas.index", subclasses=True, private=True)
plan_by("pandas.frame", plan_frame)
