"""NumPy's arrays and scalars as nodes. Their dtypes are written as in the .npy format, or by a name of `ml_dtypes`."""

from __future__ import annotations

import base64
import functools
import importlib
import math
import sys
from typing import Any, cast

import numpy as np

from outlive.arrays.dtypes import decode_dtype, encode_dtype, warn_of_metadata
from outlive.errors import CorruptArray, UnknownType, UnsupportedArray
from outlive.values.wire import Node

Array = np.ndarray[Any, Any]
_ML = "ml_dtypes"


def describe(dtype: np.dtype[Any]) -> str | None:
    """A dtype as text; None if arrays of it do not hold their own bytes, or it cannot be described."""
    if dtype.type.__module__.partition(".")[0] == _ML:
        return f"{_ML}.{dtype.name}" if _of_ml_dtypes(dtype.name) == dtype else None
    try:
        text = encode_dtype(dtype)
    except UnsupportedArray:
        return None
    warn_of_metadata(dtype)
    return text


def dtype_of(text: object) -> np.dtype[Any]:
    """The dtype that `describe` wrote.

    Raises
    ------
    CorruptArray
        The text is no dtype.
    UnknownType
        The package `ml_dtypes` is not installed.
    """
    if not isinstance(text, str):
        raise CorruptArray(f"not a dtype: {text!r:.200}")
    module, _, name = text.partition(".")
    if module != _ML:
        return decode_dtype(text)
    dtype = _of_ml_dtypes(name)
    if dtype is None:
        raise CorruptArray(f"not a dtype: {text!r:.200}")
    return dtype


def _of_ml_dtypes(name: str) -> np.dtype[Any] | None:
    try:
        found = getattr(importlib.import_module(_ML), name, None)
    except ImportError:
        raise UnknownType(
            f"this value has numbers of the type {name}, which needs the package ml_dtypes: pip install ml_dtypes"
        ) from None
    return np.dtype(found) if isinstance(found, type) and issubclass(found, np.generic) else None


def plain(array: Array) -> Array | None:
    """An array of NumPy's own as the plain array that it holds; None if it is of another class, or has a mask."""
    if type(array) is np.ndarray:
        return array
    of_numpy = type(array).__module__.partition(".")[0] == "numpy"
    return array.view(np.ndarray) if of_numpy and not is_masked(array) else None


def is_masked(array: Array) -> bool:
    masked = sys.modules.get("numpy.ma")  # it takes 60 ms to import; if it is not loaded, no array is masked
    return masked is not None and isinstance(array, masked.MaskedArray)


def array_node(array: Array, dtype: str, buffer: int) -> Node:
    """The node of a plain array whose bytes are that buffer."""
    node: Node = {"array": buffer, "dtype": dtype, "shape": list(array.shape)}
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        node["fortran"] = True
    return node


def array_of(node: Node, data: Array) -> Array:
    """The array of a node over its bytes. It can be written to if they can."""
    dtype, shape, nbytes = _layout(node["dtype"], *node["shape"])
    if nbytes != data.nbytes:
        raise ValueError("its shape and dtype do not fit its bytes")
    array: Array = np.ndarray(shape, dtype, data, 0, None, cast("Any", "F" if node.get("fortran") else "C"))
    return array


def layout(node: Node) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and shape of an array's node."""
    return _layout(node["dtype"], *node["shape"])[:2]


@functools.lru_cache(1024, typed=True)
def _layout(dtype: object, *shape: object) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The dtype and shape of a node, once they are known to be such, and the bytes of its array."""
    found, axes = dtype_of(dtype), lengths([*shape])
    return found, tuple(axes), math.prod(axes) * found.itemsize


def lengths(shape: object) -> list[int]:
    """A shape, once it is known to be one: to multiply anything else may take any memory."""
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise TypeError("a shape is a list of lengths")
    return shape


def scalar_node(value: np.generic) -> Node | None:
    """The node of a NumPy scalar; None if it holds objects."""
    if type(value) is np.str_:
        return {"scalar": "str", "value": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if type(value) is np.bytes_:
        return {"scalar": "bytes", "value": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, np.str_ | np.bytes_):  # of another class
        return None
    array = np.asarray(value)
    dtype = describe(array.dtype)
    if dtype is None or type(value) is not (np.void if array.dtype.names else array.dtype.type):
        return None
    return {"scalar": dtype, "value": base64.b64encode(array.tobytes()).decode()}


def scalar_of(node: Node) -> Any:
    data = base64.b64decode(node["value"], validate=True)
    if node["scalar"] == "str":
        return np.str_(data.decode("utf-8", "surrogatepass"))
    if node["scalar"] == "bytes":
        return np.bytes_(data)
    dtype = dtype_of(node["scalar"])
    if dtype.itemsize != len(data):
        raise ValueError("a scalar does not fit its dtype")
    return np.ndarray((), dtype, bytearray(data))[()]


# --- text of any length (StringDType), which is not in the array's own bytes


def strings_state(array: Array) -> Any:
    """A StringDType array as plain arrays; None if its marker for missing text is neither None nor a NaN."""
    dtype: Any = array.dtype
    options: dict[str, Any] = {"coerce": dtype.coerce}
    missing = np.zeros(array.shape, bool)
    if hasattr(dtype, "na_object"):
        absent = dtype.na_object
        if absent is not None and not (type(absent) is float and math.isnan(absent)):
            return None
        options["na"] = absent
        missing = np.array([one is absent for one in array.ravel()], bool).reshape(array.shape)
    texts = [b"" if gone else one.encode("utf-8") for one, gone in zip(array.ravel(), missing.ravel(), strict=True)]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    text = np.frombuffer(b"".join(texts), np.uint8) if ends.size and ends[-1] else np.empty(0, np.uint8)
    return {
        "text": text,
        "ends": ends,
        "missing": missing if missing.any() else None,
        "shape": [*array.shape],
        **options,
    }


def strings_of(state: Any) -> Array:
    ends, shape, options = state["ends"], lengths(state["shape"]), dict[str, Any](coerce=bool(state["coerce"]))
    if "na" in state:
        if state["na"] is not None and not isinstance(state["na"], float):
            raise TypeError("the marker for missing text")
        options["na_object"] = state["na"]
    _check(state["text"], np.uint8)
    _check(ends, np.int64)
    text: bytes = state["text"].tobytes()
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if ends.size else ends
    if (
        ends.ndim != 1
        or math.prod(shape) != ends.size
        or (begins > ends).any()
        or (ends.size and ends[-1] != len(text))
    ):
        raise ValueError("its texts do not fit its bytes")
    items: list[Any] = [text[a:b].decode("utf-8") for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    if state["missing"] is not None:
        _check(state["missing"], np.bool_)
        for index in np.flatnonzero(state["missing"].reshape(-1)).tolist():
            items[index] = state["na"]
    dtypes: Any = getattr(np, "dtypes", None)
    if not hasattr(dtypes, "StringDType"):
        raise UnknownType(
            "this value has text of any length (StringDType), which needs NumPy 2: pip install 'numpy>=2'"
        )
    array: Array = np.array(items, dtypes.StringDType(**options)).reshape(shape)
    array.flags.writeable = False
    return array


def _check(array: object, dtype: Any) -> None:
    """Raise TypeError for what is no array of this dtype: one without bytes could have any length."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"no array of {dtype.__name__}")


# --- masked arrays


def masked_state(array: Any) -> Any:
    """A masked array as plain arrays; None if it is of a subclass, or has attributes of its own."""
    if type(array) is not np.ma.MaskedArray or array._optinfo:  # type: ignore[attr-defined]  # noqa: SLF001
        return None
    named = array.dtype.names is not None  # then there is a mask for each field
    mask = None if array.mask is np.ma.nomask and not named else np.ma.getmaskarray(array)
    # the property makes one up where none was set
    fill = array._fill_value  # type: ignore[attr-defined]  # noqa: SLF001
    return {
        "data": array.data,
        "mask": mask,
        "fill": None if fill is None else np.asarray(fill),
        "hard": bool(array.hardmask),
    }


def masked_of(state: Any) -> Any:
    data, mask, fill = state["data"], state["mask"], state["fill"]
    if not isinstance(data, np.ndarray) or (mask is None and data.dtype.names is not None):
        raise TypeError("a masked array is data and a mask")
    if mask is not None and (mask.shape != data.shape or mask.dtype != np.ma.make_mask_descr(data.dtype)):
        raise TypeError("a mask has the shape of the data, and a dtype that fits theirs")  # others are copied
    return np.ma.MaskedArray(
        data,
        mask=np.ma.nomask if mask is None else mask,
        fill_value=None if fill is None else fill[()],
        hard_mask=bool(state["hard"]),
        copy=False,
    )
