"""The arrays of pandas: what a column, a series or an index holds, as plain data."""

from __future__ import annotations

import datetime as dt
import functools
import math
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from outlive.errors import CorruptArray
from outlive.values import parts

NUMBERS = "biufcmMS"  # kinds of arrays that a series has as they are
LABELS = "biufcmM"  # and those that an index has
_TEXT, _NONE, _NAN, _NA = range(4)  # what an item of an array of text is
_PLAIN = (str, int, float, bool, type(None))
_MOST_OBJECTS = 100_000
_AT_ONCE = 1 << 14  # texts that are in a list of Python, too
_NO_BYTES = np.empty(0, np.uint8)
_UNITS = {(unit, 1) for unit in ("s", "ms", "us", "ns")}
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
        if not dtype.hasobject and not is_of_numbers(dtype):
            raise Unknown
        return _object_state(np.asarray(array)) if dtype.hasobject else np.asarray(array)
    if str(dtype) in _MASKED:
        return {"masked": array._data, "mask": array._mask}  # noqa: SLF001 - only so without a copy
    for kind, encode in _ENCODE.items():
        if isinstance(dtype, kind):
            return encode(array, dtype)
    raise Unknown


def is_of_numbers(dtype: Any) -> bool:
    """Whether pandas has arrays of this dtype as they are."""
    return isinstance(dtype, np.dtype) and dtype.kind in NUMBERS and dtype.itemsize > 0


def array_of(state: Any) -> Any:
    """The array of such data."""
    if isinstance(state, np.ndarray):
        return numbers(state)
    return words_of(state) if type(state) is parts.Form else _DECODE[next(iter(state))](state)


def numbers(part: Any, ndim: int = 1, kinds: str = NUMBERS) -> Any:
    """An array of NumPy that pandas takes without a copy. Raises TypeError for any other."""
    found = parts.array(part, kinds, ndim)
    if not found.dtype.itemsize:
        raise TypeError("items without bytes")
    if found.dtype.kind in "mM" and (np.datetime_data(found.dtype) not in _UNITS or not found.dtype.isnative):
        raise TypeError("times of a unit or a byte order that pandas does not have")
    return found


def _categorical_state(array: Any, dtype: Any) -> Any:
    codes = array.codes.astype(codes_dtype(len(dtype.categories)), copy=False)
    return {"codes": codes, "categories": dtype.categories, "ordered": dtype.ordered}


def _categorical_of(state: Any) -> Any:
    codes, categories = parts.array(state["codes"], "i"), index_of(state["categories"])
    if codes.dtype != codes_dtype(len(categories)):
        raise TypeError("codes of another size than expected")  # they would be copied
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, bool(state["ordered"])))


def codes_dtype(count: int) -> Any:
    """The dtype of codes for so many categories."""
    return np.dtype(next(code for code in "bhiq" if count < np.iinfo(code).max))


def index_of(part: Any) -> Any:
    """The part, once it is known to be an index. Raises TypeError."""
    if not isinstance(part, pd.Index):
        raise TypeError("no index")
    return part


def _times_state(array: Any, dtype: Any) -> Any:
    return {"utc": np.asarray(array.tz_convert(None)), "tz": _zone_state(dtype.tz)}


def _times_of(state: Any) -> Any:
    utc = numbers(state["utc"])
    dtype = pd.DatetimeTZDtype(np.datetime_data(parts.array(utc, "M").dtype)[0], _zone_of(state["tz"]))
    return pd.DatetimeIndex(utc.view("i8"), dtype=dtype, copy=False).array


def _periods_state(array: Any, dtype: Any) -> Any:
    if pd.PeriodDtype(str(dtype)) != dtype:
        raise Unknown
    return {"ordinals": array.asi8, "period": str(dtype)}


def _periods_of(state: Any) -> Any:
    return pd.arrays.PeriodArray(_of(state["ordinals"], np.int64), dtype=pd.PeriodDtype(_text(state["period"])))


def _intervals_state(array: Any, _: Any) -> Any:
    return {"left": pd.Index(array.left), "right": pd.Index(array.right), "closed": array.closed}


def _intervals_of(state: Any) -> Any:
    left, right = index_of(state["left"]), index_of(state["right"])
    if left.dtype != right.dtype or any(isinstance(one, pd.RangeIndex | pd.MultiIndex) for one in (left, right)):
        raise TypeError("sides of an interval that would be made anew")
    if left is right or np.may_share_memory(*(getattr(one, "asi8", one) for one in (left, right))):
        raise TypeError("sides of an interval that are one")  # pandas would copy one
    return pd.arrays.IntervalArray.from_arrays(left, right, _text(state["closed"]))


def _masked_of(state: Any) -> Any:
    kinds = {"i": pd.arrays.IntegerArray, "u": pd.arrays.IntegerArray, "f": pd.arrays.FloatingArray}
    data, mask = parts.array(state["masked"], "biuf"), _of(state["mask"], np.bool_)
    return kinds.get(data.dtype.kind, pd.arrays.BooleanArray)(data, mask)


def _of(part: Any, dtype: Any) -> Any:
    if parts.array(part, np.dtype(dtype).kind).dtype != dtype:
        raise TypeError(f"no array of {np.dtype(dtype)}")
    return part


def _text(part: Any) -> str:
    if not isinstance(part, str):
        raise TypeError("no text")
    return part


def _arrow_of(array: Any) -> Any:
    import pyarrow as pa

    found = array.__arrow_array__()
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _chunked(part: Any) -> Any:
    import pyarrow as pa

    if not isinstance(part, pa.ChunkedArray):
        raise TypeError("no array of Arrow")
    return part


def _object_state(array: Any) -> Any:
    """An array of objects: text, or not too many other plain values, as labels are."""
    items = array.tolist()
    try:
        return _text_state(items)
    except Unknown:
        if len(items) > _MOST_OBJECTS or not all(map(_is_plain, items)):
            raise
        try:
            return {"objects": _labels(items)}
        except TypeError:
            raise Unknown from None


def _labels(items: list[Any]) -> list[Any]:
    for item in items:
        if type(item) is tuple:
            parts.label(item)
    return items


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
    text, ends, kinds = _of(state["text"], np.uint8), _of(state["ends"], np.int64), state["kinds"]
    parts.once(text, ends)
    if (ends[:-1] > ends[1:]).any() or (ends.size and (ends[0] < 0 or ends[-1] != text.size)):
        raise CorruptArray("a stored column of text is damaged: its ends do not fit it")
    items, memory, reached = np.empty(ends.size, object), text.data, 0
    for begin in range(0, ends.size, _AT_ONCE):
        made = []
        for end in ends[begin : begin + _AT_ONCE].tolist():
            made.append(str(memory[reached:end], "utf-8", "surrogatepass"))
            reached = end
        items[begin : begin + _AT_ONCE] = made
    if kinds is not None:
        if _of(kinds, np.uint8).size != ends.size:
            raise CorruptArray("a stored column of text is damaged: its marks do not fit it")
        for kind, missing in ((_NONE, None), (_NAN, np.nan), (_NA, pd.NA)):
            items[kinds == kind] = missing
    return items


def _objects(items: list[Any]) -> Any:
    parts.once(items)
    if type(items) is not list or len(items) > _MOST_OBJECTS:
        raise TypeError("no list of objects")
    array = np.empty(len(items), object)
    for index, item in enumerate(_labels(items)):  # all at once, a tuple would be a row
        array[index] = item
    return array


def _string_state(array: Any, dtype: Any) -> Any:
    storage, na = text_kind(dtype)
    if dtype.storage == "pyarrow":
        text = _arrow_of(array)
        return words_state(text, [storage, na]) or {"string": storage, "na": na, "arrow": text}
    return {"string": storage, "na": na, "items": _text_state(array.to_numpy(object).tolist())}


def text_kind(dtype: Any) -> tuple[str, str]:
    """A dtype of text as two words: for `text_dtype`. Raises Unknown for one that these do not say all of."""
    na = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
    try:
        same = text_dtype(dtype.storage, na) == dtype
    except TypeError:  # before pandas 2.3 it has no na_value
        same = False
    if not same:
        raise Unknown
    return dtype.storage, na


def _string_of(state: Any) -> Any:
    dtype = text_dtype(_text(state["string"]), _text(state["na"]))
    if "arrow" in state:
        import pyarrow as pa

        if _chunked(state["arrow"]).type not in (pa.string(), pa.large_string()):
            raise TypeError("no text")  # a dictionary's would be made anew for each item
        return dtype.__from_arrow__(state["arrow"])
    return pd.array(_text_of(state["items"]), dtype=dtype)


@functools.lru_cache(16)
def text_dtype(storage: str, na: str) -> Any:
    """The dtype of text that is kept so, whose missing items are so."""
    return pd.StringDtype(storage) if na == "NA" else pd.StringDtype(storage, na_value=np.nan)


# --- text as Arrow has it: the ends of the texts, and their bytes


def words_state(text: Any, dtype: list[str]) -> Any:
    """Text of Arrow, chunk by chunk; None if its ends are not of 64 bits."""
    import pyarrow as pa

    if text.type != pa.large_string():
        return None
    chunks, found = [], []
    for chunk in text.chunks:
        if len(chunk):
            chunks.append([len(chunk), chunk.null_count])
            found += _words(chunk)
    return parts.Form({"words": dtype, "chunks": chunks}, found)


def _words(chunk: Any) -> list[Any]:
    """The ends, the bytes and, if some are missing, the bits of those that are there. Only those of a slice."""
    begin, count = chunk.offset, len(chunk)
    valid, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int64, count + 1, 8 * begin)
    first, size = int(ends[0]), int(ends[-1] - ends[0])
    found = [ends - first if first else ends, np.frombuffer(data, np.uint8, size, first) if size else _NO_BYTES]
    if chunk.null_count:
        bits = np.frombuffer(valid, np.uint8, -(-(begin % 8 + count) // 8), begin // 8)
        if begin % 8:
            bits = np.packbits(np.unpackbits(bits, bitorder="little")[begin % 8 :][:count], bitorder="little")
        found.append(bits)
    return found


def words_of(form: parts.Form) -> Any:
    """The array of such text, over its bytes.

    They are not looked at, unless by a reader that refuses pickle: as in a stream of Arrow (see `of_arrow`).
    """
    import pyarrow as pa

    found, kind, chunks = iter(form.parts), pa.large_string(), []
    for rows, missing in form.about["chunks"]:
        if type(rows) is not int or type(missing) is not int or not 0 <= missing <= rows:
            raise TypeError("no numbers of rows")
        ends, text = _of(next(found), np.int64), _of(next(found), np.uint8)
        bits = _of(next(found), np.uint8) if missing else _NO_BYTES
        if ends.size != rows + 1 or (missing and bits.size != -(-rows // 8)):
            raise CorruptArray("a stored column of text is damaged: its ends do not fit it")
        buffers = [pa.py_buffer(bits) if missing else None, pa.py_buffer(ends), pa.py_buffer(text)]
        chunk = pa.Array.from_buffers(kind, rows, buffers, missing)
        if not parts.is_trusted():
            parts.once(ends, text, bits)
            chunk.validate(full=True)
        chunks.append(chunk)
    storage, na = form.about["words"]
    dtype = text_dtype(_text(storage), _text(na))
    if storage != "pyarrow":
        raise TypeError("text that is kept otherwise")
    return dtype.__from_arrow__(pa.chunked_array(chunks, kind))


def _zone_state(zone: Any) -> Any:
    if zone is dt.timezone.utc:
        return {"utc": True}
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return {"zone": zone.key}
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return {"seconds": offset.total_seconds(), **({"name": name[0]} if name else {})}
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return {"pytz": zone.zone}
    raise Unknown


def _zone_of(state: Any) -> Any:
    if "utc" in state:
        return dt.timezone.utc
    if "seconds" in state:
        name = [_text(state["name"])] if "name" in state else []
        return dt.timezone(dt.timedelta(seconds=state["seconds"]), *name)
    if "zone" in state:
        return zoneinfo.ZoneInfo(_text(state["zone"]))
    import pytz

    return pytz.timezone(_text(state["pytz"]))


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
    "arrow": lambda state: pd.ArrowDtype(_chunked(state["arrow"]).type).__from_arrow__(state["arrow"]),
}
