"""Parts: how a task fills a part of an array that another process creates. See `arrays.parts` for how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from outlive.arrays import parts
from outlive.arrays.dtypes import decode_dtype, storable
from outlive.arrays.parts import PIECE, Region
from outlive.arrays.writer import chunks
from outlive.cluster.filling import send_part
from outlive.errors import StoreUnavailable
from outlive.store import session
from outlive.store.gateway import in_cluster

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo

Array = np.ndarray[Any, Any]


class Parts:
    """An array that is being created, for a task that fills a part of it: `parts[10:20] = array`.

    A task gets this for the `Creation` that it was passed, and may pass it on. It holds nothing: no memory, no lock.

    Only the process that entered the `with` block of `Store.create` stores the array, or discards it.
    """

    _info: ArrayInfo

    def __init__(self, info: ArrayInfo, node: str, cluster: str) -> None:
        self._info, self._node, self._cluster = info, node, cluster

    @property
    def shape(self) -> tuple[int, ...]:
        return self._info.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return decode_dtype(self._info.dtype)

    @property
    def key(self) -> str | None:
        return self._info.key

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write `value` to a part of the array, in any process of the cluster.

        When this returns, the part is written, whatever becomes of this process. If it raises, or the process is
        killed, the part may be written in some places: write all of it again. Parts that do not overlap can be
        written at the same time. Where they overlap, the last to be written wins.

        From another node the bytes are sent to the one where the array is created, through its keeper.

        Parameters
        ----------
        index
            As for a NumPy array: integers, slices, `...`. No lists or masks.
        value
            What NumPy broadcasts to the part's shape, and converts without another kind of number (`same_kind`).

        Raises
        ------
        CreationEnded
            The array is stored or discarded.
        TypeError, ValueError, IndexError
            Index, shape or dtype do not fit. Nothing was written.
        StoreUnavailable
            The array is created in another cluster, or the keeper of its node does not answer. It may write the part
            later: so write the same there, or create the array again.
        """
        self._fill(index, value)

    @in_cluster()
    def _fill(self, index: Any, value: Any) -> None:
        region, source = part_of(self._info, index, value)
        current = session.of(self._node)
        if current.connection.cluster != self._cluster:
            raise StoreUnavailable(
                f"{parts.name(self._info)} is created in cluster {self._cluster}, and this process is connected to "
                f"cluster {current.connection.cluster}: write its parts in tasks of the former"
            )
        if current.node == self._node:
            parts.write(current.shelf, self._info, region, _pieces(source, PIECE))
        else:
            send_part(current.peers, self._node, self._info, region, _pieces(source, current.chunk_size))

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts, (self._info, self._node, self._cluster)

    def __repr__(self) -> str:
        array = f"key={self.key!r}" if self.key is not None else f"id={self._info.id}"
        return f"{type(self).__name__}({array}, shape={self.shape}, dtype={self.dtype})"


def part_of(info: ArrayInfo, index: Any, value: Any) -> tuple[Region, Array]:
    """Where a part of the array of `info` lies, and the items that go there, in the order of the region.

    Raises
    ------
    TypeError, ValueError, IndexError
    """
    dtype = decode_dtype(info.dtype)
    # An array of this shape over the memory of one item: it is indexed, and its items are never looked at.
    item = np.empty((), dtype)
    order: Any = "F" if info.fortran else "C"
    whole = np.lib.stride_tricks.as_strided(item, info.shape, _strides(info.shape, dtype.itemsize, order))
    part = select(whole, index)
    source = np.broadcast_to(fitting(value, dtype, part.shape), part.shape)
    if not part.nbytes:
        return Region(0, 0), source
    forwards: Any = (*(slice(None, None, -1 if step < 0 else 1) for step in part.strides), ...)
    part, source = part[forwards], source[forwards]
    axes = sorted(range(part.ndim), key=lambda axis: -part.strides[axis] if part.shape[axis] > 1 else 1)
    run, steps = dtype.itemsize, [(part.shape[axis], part.strides[axis]) for axis in axes if part.shape[axis] > 1]
    while steps and steps[-1][1] == run:
        run *= steps.pop()[0]
    begin = part.__array_interface__["data"][0] - item.__array_interface__["data"][0]
    return Region(begin, run, tuple(steps)), source.transpose(axes)


def _strides(shape: tuple[int, ...], itemsize: int, order: str) -> tuple[int, ...]:
    strides, step = list[int](), itemsize
    for count in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= count
    return tuple(strides if order == "F" else reversed(strides))


def select(array: Array, index: Any) -> Array:
    """`array[index]` as a view. Raises TypeError for an index that makes a copy, and IndexError."""
    keys = index if isinstance(index, tuple) else (index,)
    for key in keys:
        if isinstance(key, bool) or not (key is None or key is ... or isinstance(key, int | np.integer | slice)):
            raise TypeError(
                f"a part is named by integers, slices and '...', not by {type(key).__name__}: write the items that a "
                "list or a mask names one by one, or all rows between them"
            )
    view: Array = array[keys if any(key is ... for key in keys) else (*keys, ...)]
    return view


def fitting(value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """`value` as an array of this dtype that can be broadcast to this shape.

    Raises
    ------
    TypeError, ValueError, OverflowError
    """
    array = storable(value) if isinstance(value, np.ndarray) else np.asarray(value)
    if array.ndim == 0 and not isinstance(value, np.ndarray | np.generic):  # NumPy knows best which numbers fit
        array = np.empty((), dtype)
        np.copyto(array, value, casting="same_kind")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f"a part of dtype {array.dtype} does not go into an array of dtype {dtype}; nothing was written. "
            f"Convert it first: value.astype({str(dtype)!r})"
        )
    if array.ndim and not isinstance(value, np.ndarray):
        array = np.asarray(value, dtype)  # OverflowError where a number does not fit: `astype` would wrap it around
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"an array of shape {array.shape} does not go into a part of shape {shape}; nothing was written"
        ) from None
    return array.astype(dtype, copy=False)


def _pieces(source: Array, size: int) -> Iterator[memoryview]:
    """The bytes of an array in C order, at most `size` at a time."""
    return chunks(source, size) if source.nbytes else iter(())
