"""Plain indexes of pandas, a range or not very many words: they are JSON in the form of what they belong to."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from outlive.values.pandas_arrays import Unknown, text_dtype, text_kind

_MOST = 1000  # words
_LONGEST = 1 << 16  # letters of all of them
_NAMES = (str, int, type(None))


def is_plain(name: object) -> bool:
    """Whether a name is the same after JSON."""
    return type(name) in _NAMES and (type(name) is not str or _is_text(name))


def plain_index(index: Any) -> dict[str, Any] | None:
    """An index as JSON; None if it is of another kind."""
    kind = type(index)
    if kind not in (pd.RangeIndex, pd.Index) or not is_plain(index.name):
        return None
    if kind is pd.RangeIndex:
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if len(index) > _MOST or not (index.dtype == object or isinstance(index.dtype, pd.StringDtype)):
        return None
    try:
        dtype = None if index.dtype == object else [*text_kind(index.dtype)]
    except Unknown:
        return None
    words = index.tolist()
    if not all(type(word) is str and _is_text(word) for word in words) or sum(map(len, words)) > _LONGEST:
        return None
    return {"words": words, "dtype": dtype, "name": index.name}


def _is_text(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:  # a surrogate
        return False


def index_of_plain(about: Any) -> Any:
    """The index of such JSON.

    Raises
    ------
    KeyError, TypeError, ValueError
    """
    name = about["name"]
    if not is_plain(name):
        raise TypeError("a name of another kind")
    if "range" in about:
        start, stop, step = about["range"]
        if not type(start) is type(stop) is type(step) is int:
            raise TypeError("a range without numbers")
        return pd.RangeIndex(start, stop, step, name=name)
    words, dtype = about["words"], about["dtype"]
    if type(words) is not list or len(words) > _MOST:
        raise TypeError("labels that are no list, or a long one")
    if dtype is None:
        return pd.Index(_objects(words), dtype=object, name=name, copy=False)
    storage, na = dtype
    kind = text_dtype(storage, na)
    array = kind.__from_arrow__(_of_arrow(*words)) if storage == "pyarrow" else pd.array(_objects(words), dtype=kind)
    return pd.Index._simple_new(array, name)  # noqa: SLF001 - `Index` takes longer


def words_of_plain(about: Any) -> Any:
    """The words of such an index as Arrow has them, which nothing can write to; None if it keeps them otherwise."""
    kept_by_arrow = about.get("dtype") is not None and about["dtype"][0] == "pyarrow"
    return _of_arrow(*about["words"]) if kept_by_arrow else None


def _objects(words: list[Any]) -> Any:
    found = np.empty(len(words), object)
    found[:] = _texts(words)
    return found


def _texts(words: Any) -> Any:
    if not all(type(word) is str for word in words) or sum(map(len, words)) > _LONGEST:
        raise TypeError("labels that are no text, or a long one")
    return words


@functools.lru_cache(64, typed=True)
def _of_arrow(*words: object) -> Any:
    """Words as Arrow has them, which nothing can write to. Frames of a program have the same labels again and again."""
    import pyarrow as pa

    return pa.chunked_array([pa.array(_texts(words), pa.large_string())])
