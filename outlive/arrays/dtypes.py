"""Which arrays can be stored, and their dtypes as text."""

from __future__ import annotations

import ast
import contextlib
import functools
import sys
import warnings
from typing import Any

import numpy as np

from outlive.errors import CorruptArray, UnsupportedArray

_TRIES = 20
"""On some Pythons, such as 3.11.7, one of two threads that parse at a time may get a SystemError for nothing.

Source: https://github.com/python/cpython/issues/106905
"""


def storable(array: object) -> np.ndarray[Any, Any]:
    """Return `array` as a plain `numpy.ndarray` (no copy).

    NumPy's own subclasses (`np.memmap`, `np.recarray`, `np.matrix`) add methods or a file. They become the plain array
    that they hold.

    Raises
    ------
    UnsupportedArray
        It is no array, or storing it would lose something: a mask, Python objects, or additions of a subclass.
    """
    if type(array) is np.ndarray:
        encode_dtype(array.dtype)
        return array
    if type(array).__name__ in {"ObjectRef", "ClientObjectRef"}:
        raise UnsupportedArray("only numpy arrays can be stored, not an ObjectRef; store what ray.get(ref) returns")
    if not isinstance(array, np.ndarray):
        raise UnsupportedArray(
            f"only a numpy array can be kept here, and no {type(array).__module__}.{type(array).__qualname__}: "
            "outlive.open().put(value) keeps any value as it is. numpy.asarray(value) may lose what it is besides "
            "numbers, and more"
        )
    masked = sys.modules.get("numpy.ma")  # `numpy.ma` takes 60 ms to import; if it is not loaded, no array is masked
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise UnsupportedArray(
            "a MaskedArray cannot be stored, its mask would be lost; "
            "store array.filled(value), or array.data and np.ma.getmaskarray(array) under two keys"
        )
    if type(array).__module__.split(".")[0] != "numpy":
        raise UnsupportedArray(
            f"{type(array).__module__}.{type(array).__qualname__} is more than its numbers, and would come back as a "
            "plain array; store numpy.asarray(...) of it, and what else it holds by itself"
        )
    encode_dtype(array.dtype)
    return array.view(np.ndarray)


def warn_of_metadata(dtype: np.dtype[Any]) -> None:
    """Warn if a dtype that is to be stored has metadata, which is lost: as `numpy.save` does, by a `UserWarning`.

    `encode_dtype` cannot tell: dtypes with and without metadata are equal, and so have one place in its cache.
    """
    if (dtype.metadata is not None or dtype.names) and _has_metadata(dtype):
        warnings.warn("metadata on a dtype is not stored: the array comes back without it", stacklevel=2)


def _has_metadata(dtype: np.dtype[Any]) -> bool:
    fields = (dtype.fields or {}).values()
    return dtype.metadata is not None or any(_has_metadata(field[0].base) for field in fields)


@functools.lru_cache(4096)
def encode_dtype(dtype: np.dtype[Any]) -> str:
    """`dtype` as the `descr` literal of the .npy format.

    Raises
    ------
    UnsupportedArray
        Arrays of this dtype do not hold their own bytes, or the format cannot describe it.
    """
    if dtype.char == "T":
        raise UnsupportedArray("StringDType keeps its text outside the array; store array.astype('U') instead")
    if dtype.hasobject:
        raise UnsupportedArray(
            f"dtype {dtype} holds Python objects, which live in one process only; "
            "convert it, e.g. array.astype(float) for numbers or array.astype('U') for text"
        )
    try:
        descr = repr(np.lib.format.dtype_to_descr(dtype)) if dtype.names else repr(dtype.str)
        same = decode_dtype(descr) == dtype
    except (ValueError, TypeError, CorruptArray):
        same = False
    if not same and dtype.names:
        raise UnsupportedArray(
            f"the .npy format cannot describe dtype {dtype} (overlapping or unordered fields); "
            "store numpy.lib.recfunctions.repack_fields(array)"
        )
    if not same:
        raise UnsupportedArray(
            f"dtype {dtype} is not one of numpy's own and would come back as another; "
            f"store array.view('V{dtype.itemsize}') or a numpy dtype of the same size, and view it back after reading"
        )
    return descr


def literal(text: str) -> Any:
    """The value of a Python literal. Raises as `ast.literal_eval` does."""
    for _ in range(_TRIES):
        with contextlib.suppress(SystemError):
            return ast.literal_eval(text)
    return ast.literal_eval(text)


@functools.lru_cache(4096)
def decode_dtype(descr: str) -> np.dtype[Any]:
    """The dtype of a `descr` literal. Nothing is evaluated or unpickled.

    Raises
    ------
    CorruptArray
        The text is not such a literal.
    """
    try:
        dtype = np.lib.format.descr_to_dtype(literal(descr))
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError) as error:
        raise CorruptArray(f"not a dtype: {descr!r:.200} ({error})") from None
    if dtype.hasobject:
        raise CorruptArray(f"a stored array cannot hold Python objects: {descr!r:.200}")
    return dtype
