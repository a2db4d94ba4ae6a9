"""SciPy's sparse arrays and matrices: their own arrays, as they are.

Each reading checks the indices (it reads them once): a wrong one would have SciPy write to other memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from outlive.errors import CorruptArray
from outlive.values.registry import register


def _compressed(one: Any) -> Any:
    return {"data": one.data, "indices": one.indices, "indptr": one.indptr, "shape": list(one.shape)}


def _diagonals(one: Any) -> Any:
    return {"data": one.data, "offsets": one.offsets, "shape": list(one.shape)}


def _coordinates(one: Any) -> Any:
    coords = list(one.coords) if hasattr(one, "coords") else [one.row, one.col]
    canonical = bool(one.has_canonical_format)
    return {"data": one.data, "coords": coords, "shape": list(one.shape), "canonical": canonical}


def _compressed_of(kind: Any) -> Callable[[Any], Any]:
    by_column, in_blocks = kind.__name__.startswith("csc"), kind.__name__.startswith("bsr")

    def decode(state: Any) -> Any:
        shape, data = _shape(state), state["data"]
        indices, indptr = _indices(state["indices"]), _indices(state["indptr"])
        blocks = data.shape[1:] if in_blocks else (1,) * len(shape)
        if data.ndim != 1 + 2 * in_blocks or any(size % block for size, block in zip(shape, blocks, strict=True)):
            raise CorruptArray("a stored sparse array is damaged: its blocks do not fit its shape")
        sizes = [size // block for size, block in zip(shape, blocks, strict=True)]
        rows, columns = (sizes[1], sizes[0]) if by_column else ([1, *sizes])[-2:]
        _check(data, indices, indptr, rows, columns)
        one = kind(shape, dtype=data.dtype, **({"blocksize": blocks} if in_blocks else {}))
        one.data, one.indices, one.indptr = data, indices, indptr
        return one

    return decode


def _check(data: Any, indices: Any, indptr: Any, rows: int, columns: int) -> None:
    """SciPy's own `check_format` copies what is a part of other memory, and misses some of this."""
    ascending = indptr.size == rows + 1 and indptr[0] == 0 and (indptr[:-1] <= indptr[1:]).all()
    if not ascending or indices.dtype != indptr.dtype or not indptr[-1] <= indices.size == len(data):
        raise CorruptArray("a stored sparse array is damaged: its rows do not fit its data")
    if indices.size and (indices.min() < 0 or indices.max() >= columns):
        raise CorruptArray("a stored sparse array is damaged: indices outside its shape")


def _diagonals_of(kind: Any) -> Callable[[Any], Any]:
    def decode(state: Any) -> Any:
        one = kind(_shape(state), dtype=state["data"].dtype)
        one.data, one.offsets = state["data"], _indices(state["offsets"])
        fits = one.data.ndim == 2 and one.offsets.shape == one.data.shape[:1]
        if not fits or np.unique(one.offsets).size < one.offsets.size:
            raise CorruptArray("a stored sparse array is damaged: its diagonals")
        return one

    return decode


def _coordinates_of(kind: Any) -> Callable[[Any], Any]:
    def decode(state: Any) -> Any:
        shape, coords, data = _shape(state), [_indices(one) for one in state["coords"]], state["data"]
        if len(coords) != len(shape) or data.ndim != 1 or any(one.shape != data.shape for one in coords):
            raise CorruptArray("a stored sparse array is damaged: its coordinates do not fit its data")
        if data.size and any(one.min() < 0 or one.max() >= size for one, size in zip(coords, shape, strict=True)):
            raise CorruptArray("a stored sparse array is damaged: coordinates outside its shape")
        one = kind(shape, dtype=data.dtype)
        one.data = data
        if hasattr(one, "coords"):
            one.coords = tuple(coords)
        else:
            one.row, one.col = coords
        one.has_canonical_format = bool(state["canonical"])
        return one

    return decode


def _shape(state: Any) -> tuple[int, ...]:
    shape = tuple(state["shape"])
    if not shape or not all(type(length) is int and 0 <= length < 1 << 62 for length in shape):
        raise CorruptArray("a stored sparse array is damaged: its shape")
    return shape


def _indices(array: Any) -> Any:
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype not in (np.int32, np.int64):
        raise CorruptArray("a stored sparse array is damaged: its indices")
    return array


_FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Callable[[Any], Any]]]] = {
    **dict.fromkeys(("csr", "csc", "bsr"), (_compressed, _compressed_of)),
    "dia": (_diagonals, _diagonals_of),
    "coo": (_coordinates, _coordinates_of),
}


def _sure(encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An encoder that leaves to pickle what could not be read again: SciPy takes some that it would refuse itself."""

    def encoded(one: Any) -> Any:
        state = encode(one)
        try:
            decode(state)
        except (CorruptArray, ValueError, TypeError):
            return NotImplemented
        return state

    return encoded


for _form, (_encode, _decoder) in _FORMS.items():
    for _ending in ("array", "matrix"):
        _kind = getattr(sp, f"{_form}_{_ending}", None)
        if _kind is not None:
            register(
                _kind, _sure(_encode, _decoder(_kind)), _decoder(_kind), name=f"scipy.{_form}_{_ending}", private=True
            )
