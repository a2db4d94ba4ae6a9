"""Writing to a shelf: an array becomes a draft, and the draft is sealed."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.dtypes import decode_dtype, encode_dtype, storable
from outlive.arrays.full import explain
from outlive.arrays.info import check_key, new_version
from outlive.arrays.put_options import DEFAULT, PutOptions
from outlive.arrays.warm import writable_map

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_GATHERED = 64 << 20  # bytes of a non-contiguous array that are copied at a time, between which an interrupt gets in
_COPY_STEP = 4 << 20  # bytes of a non-contiguous array that are gathered at a time


class Writer:
    """Writes arrays to `shelf`. Any number of threads may use it at once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def put(
        self,
        array: np.ndarray[Any, Any],
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        options: PutOptions = DEFAULT,
    ) -> ArrayInfo:
        """Store one array at once and return its `ArrayInfo`. For a put with a key, see `draft_of`."""
        draft = self.draft_of(array, store=store, key=key, version=version, options=options)
        try:
            draft.seal()
        except BaseException as error:
            draft.discard()
            if isinstance(error, OSError):
                raise explain(self._shelf, error, draft.info.size) from None
            raise
        return draft.info

    def draft_of(
        self,
        array: np.ndarray[Any, Any],
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        options: PutOptions = DEFAULT,
    ) -> Draft:
        """A draft with all of `array` written, ready to be sealed."""
        array = storable(array)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        info = segment.describe(
            encode_dtype(array.dtype),
            array.shape,
            array.nbytes,
            fortran=fortran,
            store=store,
            key=key,
            version=version or new_version(),
            options=options,
        )
        draft = Draft.make(self._shelf, info, options.mode)
        try:
            fill(draft, array)
        except BaseException:
            draft.discard()
            raise
        return draft

    def drafts_of(
        self,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        *,
        store: str,
        options: PutOptions = DEFAULT,
        written: Callable[[int], object] = lambda _: None,
    ) -> list[Draft]:
        """Drafts of several arrays under their keys: all, or none.

        Parameters
        ----------
        written
            Called with the bytes of each array that is written.
        """
        drafts: list[Draft] = []
        try:
            for key, array in arrays.items():
                drafts.append(self.draft_of(array, store=store, key=check_key(key), options=options))
                written(drafts[-1].info.nbytes)
        except BaseException:
            for draft in drafts:
                draft.discard()
            raise
        return drafts


def fill(draft: Draft, array: np.ndarray[Any, Any]) -> None:
    """Write header, data and footer of a draft.

    Raises
    ------
    StoreFull
        The file system has no room, as `write(2)` says. Discarding the draft leaves nothing behind.
    """
    draft.with_room(lambda fd: _write(fd, draft.info, array))
    draft.complete()


def _write(fd: int, info: ArrayInfo, array: np.ndarray[Any, Any]) -> None:
    head, foot = segment.header_of(info), segment.footer(info)
    if (array.flags.forc or _is_plain(array)) and (warm := writable_map(fd, info.size)):
        _copy(warm, info, array, head, foot)
    elif array.flags.forc or not array.nbytes:
        data: Any = array.ravel(order="K").view(np.uint8).data if info.nbytes else b""
        segment.write_all(fd, [head, data, foot], 0)
    else:
        offset = info.offset
        segment.write_all(fd, [head], 0)
        for chunk in _chunks(array):
            segment.write_all(fd, [chunk], offset)
            offset += len(chunk)
        segment.write_all(fd, [foot], offset)


def _copy(warm: mmap.mmap, info: ArrayInfo, array: np.ndarray[Any, Any], head: bytes, foot: bytes) -> None:
    """Write header, data and footer to the mapped segment."""
    warm[: info.offset] = head
    if array.flags.forc:
        np.frombuffer(warm, np.uint8, info.nbytes, info.offset)[:] = array.ravel(order="K").view(np.uint8)
    else:
        target: np.ndarray[Any, Any] = np.ndarray(info.shape, array.dtype, warm, info.offset)
        step = max(1, _GATHERED * len(array) // info.nbytes)
        for start in range(0, len(array), step):
            target[start : start + step] = array[start : start + step]
    warm[info.offset + info.nbytes :] = foot


def _is_plain(array: np.ndarray[Any, Any]) -> bool:
    """Whether NumPy assigns its items byte for byte. It does not copy the bytes between the fields of a structure."""
    return array.dtype.names is None and array.ndim > 0


def _chunks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """The bytes of `array` in C order, a few MiB at a time."""
    count = max(1, _COPY_STEP // max(1, array.dtype.itemsize))
    flags = ["external_loop", "buffered", "zerosize_ok"]
    for chunk in np.nditer(array, flags=flags, buffersize=count, order="C"):  # type: ignore[call-overload]
        yield np.ascontiguousarray(chunk).view(np.uint8).data


def mapped(draft: Draft) -> np.ndarray[Any, Any]:
    """The draft's own bytes as a writable array, for the caller to fill. See `Draft.map`."""
    info, order = draft.info, cast("Any", "F" if draft.info.fortran else "C")
    array: np.ndarray[Any, Any] = np.ndarray(
        info.shape, decode_dtype(info.dtype), draft.map(), info.offset, order=order
    )
    return array
