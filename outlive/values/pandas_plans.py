"""A frame of pandas whose structure is read again: made of the classes, places and dtypes of the frame before.

Most of a get's time would go into pandas' constructors, which look at what an earlier reading has shown. So the objects
are made by their classes, as pandas' own copies are. Where a frame is something else than is expected here, as in
another version of pandas, there is no plan for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from outlive.values.pandas_labels import index_of_plain, words_of_plain
from outlive.values.parts import Form

_WORDS = frozenset({"_pa_array", "_dtype"})  # all that an array of text has
_EMPTY = "_cache"  # but for a cache, which is empty at first


def plan_frame(form: Any, frame: Any) -> Callable[[list[Any]], Any] | None:
    """A function that makes such frames of the parts of such forms; None if it has more than numbers and text."""
    if type(form) is not Form or any(form.about[name] for name in ("attrs", "unique")):
        return None
    manager = frame._mgr  # noqa: SLF001
    blocks = getattr(manager, "blocks", ())
    if len(blocks) != len(form.parts) or form.about["labels"] is None or form.about["index"] is None:
        return None
    found = [_values(part, block.values) for part, block in zip(form.parts, blocks, strict=True)]
    values = [one for one in found if one is not None]
    labels, index = _index(form.about["labels"], frame.columns), _index(form.about["index"], frame.index)
    if len(values) != len(blocks):
        return None
    of_blocks = [(type(block), block.mgr_locs, values_of) for block, values_of in zip(blocks, values, strict=True)]
    manager_of, frame_of = type(manager), pd.DataFrame._from_mgr  # noqa: SLF001

    def make(parts: list[Any]) -> Any:
        made = tuple(
            [
                kind(values_of(part), placement=places, ndim=2)
                for (kind, places, values_of), part in zip(of_blocks, parts, strict=True)
            ]
        )
        manager = manager_of(made, [labels(), index()], verify_integrity=False)
        return frame_of(manager, manager.axes)

    return make


def _values(part: Any, values: Any) -> Callable[[Any], Any] | None:
    """A function that makes the values of a block of such parts; None if there is no way known."""
    if values is part and type(part) is np.ndarray:
        return _itself
    if type(part) is not Form or "words" not in part.about or len(part.about["chunks"]) != 1:
        return None
    words = _words(values)
    if words is None:
        return None
    import pyarrow as pa

    [[rows, missing]], text = part.about["chunks"], pa.large_string()
    from_buffers, joined, buffer = pa.Array.from_buffers, pa.chunked_array, pa.py_buffer

    def make(parts: list[Any]) -> Any:
        valid = buffer(parts[2]) if missing else None
        # It looks at the first and the last of the ends, as at the first reading: damaged ones are noticed.
        return words(joined([from_buffers(text, rows, [valid, buffer(parts[0]), buffer(parts[1])], missing)]))

    return make


def _itself(part: Any) -> Any:
    return part


def _words(like: Any) -> Callable[[Any], Any] | None:
    """A function that makes arrays of text like this one, of Arrow's; None if this one is not as expected."""
    kind, has, new, dtype = type(like), vars(like).keys(), object.__new__, like.dtype
    if not _WORDS <= has <= {*_WORDS, _EMPTY}:
        return None
    cached = _EMPTY in has

    def make(text: Any) -> Any:
        made = new(kind)
        made._pa_array, made._dtype = text, dtype  # noqa: SLF001
        if cached:
            made._cache = {}  # noqa: SLF001
        return made

    return make


def _index(about: Any, like: Any) -> Callable[[], Any]:
    """A function that makes indexes of this JSON. No two of them share what a program could change."""
    name = like.name
    if type(like) is pd.RangeIndex:
        numbers = range(like.start, like.stop, like.step)
        return lambda: pd.RangeIndex.from_range(numbers, name=name)
    text = words_of_plain(about)
    words = None if text is None else _words(like._data)  # noqa: SLF001 - `array` is read-only, and so of another form
    if words is None:
        return lambda: index_of_plain(about)
    return lambda: pd.Index._simple_new(words(text), name)  # noqa: SLF001
