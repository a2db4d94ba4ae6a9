"""Polars' frames and series: as a stream of Arrow's format, which Polars itself writes and reads (with one copy).

A stream is looked through before Polars reads it, see `arrow_streams`.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl

from outlive.errors import CorruptArray
from outlive.values.arrow_streams import look_through
from outlive.values.parts import is_trusted, stream
from outlive.values.registry import register


def _encode_frame(frame: Any) -> Any:
    if any(_has_objects(dtype) for dtype in frame.dtypes) or (not frame.width and frame.height):
        return NotImplemented
    sink = io.BytesIO()
    try:
        frame.write_ipc_stream(sink, compat_level=pl.CompatLevel.newest())
    except BaseException as error:
        if _is_of_polars(error):  # a type that the format does not have
            return NotImplemented
        raise
    try:
        look_through(sink.getbuffer(), only_text=True)
    except ValueError:
        return NotImplemented
    return np.frombuffer(sink.getbuffer(), np.uint8)


def _is_of_polars(error: BaseException) -> bool:
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"  # of Rust, and no Exception


def _has_objects(dtype: Any) -> bool:
    inside = getattr(dtype, "inner", None)
    fields = getattr(dtype, "fields", ())
    return (
        dtype == pl.Object
        or (inside is not None and _has_objects(inside))
        or any(_has_objects(one.dtype) for one in fields)
    )


def _decode_frame(data: Any) -> Any:
    try:
        memory = stream(data)
        if not is_trusted():
            look_through(memory, only_text=True)
        return pl.read_ipc_stream(io.BytesIO(data.data))
    except BaseException as error:
        if _is_of_polars(error):
            raise CorruptArray(f"a stored Polars frame is damaged: {error!s:.200}") from None
        raise


def _encode_series(series: Any) -> Any:
    return _encode_frame(series.to_frame())


def _decode_series(data: Any) -> Any:
    frame = _decode_frame(data)
    if frame.width != 1:
        raise CorruptArray(f"a stored Polars series is damaged: it has {frame.width} columns")
    return frame.to_series()


register(pl.DataFrame, _encode_frame, _decode_frame, name="polars.frame")
register(pl.Series, _encode_series, _decode_series, name="polars.series")
