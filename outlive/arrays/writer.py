"""Writing to a shelf: an array becomes a draft, and the draft is sealed."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from outlive.arrays import copying, segment
from outlive.arrays.draft import Draft
from outlive.arrays.dtypes import decode_dtype, encode_dtype, storable, warn_of_metadata
from outlive.arrays.full import explain
from outlive.arrays.info import new_version
from outlive.arrays.packed import DTYPE as PACKED
from outlive.arrays.packed import Packed
from outlive.arrays.put_options import DEFAULT, PutOptions
from outlive.arrays.segment import COPY_BELOW

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_AT_ONCE = 512  # parts that are written by one call of the system, which takes 1024 at most
_SMALL_AT_ONCE = 64  # arrays that are written under one lock of the ledger, so that other writers get their turn
_COPIED_NOW = 64 << 10  # bytes of a part that is too small to be left to another thread
_COPY_STEP = 4 << 20  # bytes of a non-contiguous array that are gathered at a time


class Writer:
    """Writes arrays to `shelf`. Any number of threads may use it at once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def put(
        self,
        array: np.ndarray[Any, Any] | Packed,
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        options: PutOptions = DEFAULT,
    ) -> ArrayInfo:
        """Store one array, or a packed value, and return its `ArrayInfo`. See `draft_of` for a put with a key."""
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
        array: np.ndarray[Any, Any] | Packed,
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        options: PutOptions = DEFAULT,
    ) -> Draft:
        """A draft with all of `array` written, ready to be sealed."""
        info, array = _described(array, store=store, key=key, version=version, options=options)
        return self._written(info, array, options)

    def _written(self, info: ArrayInfo, array: np.ndarray[Any, Any] | Packed, options: PutOptions) -> Draft:
        if info.size <= COPY_BELOW and (made := self._small([(info, _bytes_of(array))], options)):
            return made[0]
        draft = Draft.make(self._shelf, info, options.mode)
        try:
            fill(draft, array)
        except BaseException:
            draft.discard()
            raise
        return draft

    def drafts_of(
        self,
        arrays: Iterable[tuple[str | None, np.ndarray[Any, Any] | Packed]],
        *,
        store: str,
        options: PutOptions = DEFAULT,
    ) -> list[Draft]:
        """Drafts of several arrays, or packed values, under their keys: all, or none."""
        drafts: list[Draft] = []
        small: list[tuple[ArrayInfo, bytes]] = []
        try:
            for key, given in arrays:
                info, array = _described(given, store=store, key=key, options=options)
                if is_small := info.size <= COPY_BELOW:
                    small.append((info, _bytes_of(array)))  # a generator may give the next one in the same memory
                if not is_small or len(small) == _SMALL_AT_ONCE:
                    self._write_small(small, drafts, options)
                if not is_small:
                    drafts.append(self._written(info, array, options))
            self._write_small(small, drafts, options)
        except BaseException:
            for draft in drafts:
                draft.discard()
            raise
        return drafts

    def _write_small(self, some: list[tuple[ArrayInfo, bytes]], drafts: list[Draft], options: PutOptions) -> None:
        """Add drafts of these arrays, in this order, and empty the list."""
        while some:
            made = self._small(some, options)
            drafts += made
            del some[: len(made)]
            if some:  # memory has no room: that is made now
                info, data = some.pop(0)
                drafts.append(self._written(info, Packed("", len(data), [np.frombuffer(data, np.uint8)]), options))

    def _small(self, some: Sequence[tuple[ArrayInfo, bytes]], options: PutOptions) -> list[Draft]:
        """Drafts of the first of these arrays, as many as memory has room for now."""
        parts = [(info, [segment.header_of(info), data, segment.footer(info)]) for info, data in some]
        return Draft.write_small(self._shelf, parts, options.mode)


class _Described(NamedTuple):
    """An array that is to be stored, as it can be written."""

    info: ArrayInfo
    array: np.ndarray[Any, Any] | Packed


def _described(
    array: np.ndarray[Any, Any] | Packed, *, store: str, key: str | None, options: PutOptions, version: int = 0
) -> _Described:
    if isinstance(array, Packed):
        dtype, shape, fortran, codec = PACKED, (array.nbytes,), False, array.codec
    else:
        array = storable(array)
        warn_of_metadata(array.dtype)
        dtype, shape, codec = encode_dtype(array.dtype), array.shape, ""
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    info = segment.describe(
        dtype,
        shape,
        array.nbytes,
        fortran=fortran,
        store=store,
        key=key,
        version=version or new_version(),
        options=options,
        codec=codec,
    )
    return _Described(info, array)


def _bytes_of(array: np.ndarray[Any, Any] | Packed) -> bytes:
    """The data of a small segment, in memory of its own."""
    if not array.nbytes:  # `numpy.nditer` gives bytes for items of zero bytes
        return b""
    if isinstance(array, Packed):
        return b"".join(part.tobytes() for part in array.parts)
    if array.flags.forc:
        return array.tobytes("A")
    return b"".join(bytes(chunk) for chunk in chunks(array))


def fill(draft: Draft, array: np.ndarray[Any, Any] | Packed) -> None:
    """Write header, data and footer of a draft.

    Raises
    ------
    StoreFull
        The file system has no room, as `write(2)` says. Discarding the draft leaves nothing behind.
    """
    if isinstance(array, Packed):
        draft.with_room(lambda fd: _write_parts(draft, fd, array.parts))
    else:
        draft.with_room(lambda fd: _write(draft, fd, array))
    draft.complete()


def _write(draft: Draft, fd: int, array: np.ndarray[Any, Any]) -> None:
    info = draft.info
    head, foot = segment.header_of(info), segment.footer(info)
    if (array.flags.forc or _is_plain(array)) and (memory := draft.memory()):
        _copy(draft, memory, array, head, foot)
    elif array.flags.forc or not array.nbytes:
        data: Any = array.ravel(order="K").view(np.uint8).data if info.nbytes else b""
        segment.write_all(fd, [head, data, foot], 0)
    else:
        offset = info.offset
        segment.write_all(fd, [head], 0)
        for chunk in chunks(array):
            segment.write_all(fd, [chunk], offset)
            offset += len(chunk)
        segment.write_all(fd, [foot], offset)


def _write_parts(draft: Draft, fd: int, parts: list[np.ndarray[Any, Any]]) -> None:
    """Write the segment of a packed value. Each part is copied once."""
    info, offset = draft.info, 0
    head, foot = segment.header_of(info), segment.footer(info)
    if memory := draft.memory():
        memory[: info.offset] = head
        _copy_parts(draft, memory, parts)
        memory[info.offset + info.nbytes :] = foot  # last: now the segment is whole
        return
    for pieces in _pieces([np.frombuffer(head, np.uint8), *parts, np.frombuffer(foot, np.uint8)]):
        segment.write_all(fd, pieces, offset)
        offset += sum(map(len, pieces))


def _copy_parts(draft: Draft, memory: mmap.mmap, parts: list[np.ndarray[Any, Any]]) -> None:
    """Copy all parts to the mapped segment: small ones now, and then all others at once, as if they were one array."""
    target, offset = np.frombuffer(memory, np.uint8), draft.info.offset
    pieces: list[tuple[Any, Any]] = []
    nbytes = 0
    for part in parts:
        if part.flags.c_contiguous:
            source = part.reshape(-1).view(np.uint8)
            there = target[offset : offset + source.nbytes]
        elif _is_plain(part):
            source, there = part, np.ndarray(part.shape, part.dtype, memory, offset)
        else:
            _gather(target[offset : offset + part.nbytes], part)
            offset += part.nbytes
            continue
        if source.nbytes < _COPIED_NOW:
            there[...] = source
        else:
            pieces += _slices(there, source)
            nbytes += source.nbytes
        offset += source.nbytes
    if pieces:
        draft.copy(pieces, nbytes)


def _gather(target: np.ndarray[Any, Any], part: np.ndarray[Any, Any]) -> None:
    offset = 0
    for chunk in chunks(part):
        target[offset : offset + len(chunk)] = np.frombuffer(chunk, np.uint8)
        offset += len(chunk)


def _pieces(parts: list[np.ndarray[Any, Any]]) -> Iterator[list[memoryview]]:
    """The bytes of all parts, in order. Those of a list are written before the next list is asked for."""
    gathered: list[memoryview] = []
    for part in parts:
        contiguous = part.flags.c_contiguous
        if contiguous:
            gathered.append(part.reshape(-1).view(np.uint8).data)
        if len(gathered) >= _AT_ONCE or (gathered and not contiguous):
            yield gathered
            gathered = []
        if not contiguous:
            for chunk in chunks(part):
                yield [chunk]
    if gathered:
        yield gathered


def _copy(draft: Draft, memory: mmap.mmap, array: np.ndarray[Any, Any], head: bytes, foot: bytes) -> None:
    """Write header, data and footer to the mapped segment."""
    info = draft.info
    memory[: info.offset] = head
    if array.flags.forc:
        data = array.ravel(order="K").view(np.uint8)
        _copy_bytes(draft, np.frombuffer(memory, np.uint8, info.nbytes, info.offset), data)
    else:
        target: np.ndarray[Any, Any] = np.ndarray(info.shape, array.dtype, memory, info.offset)
        draft.copy(_slices(target, array), info.nbytes)
    memory[info.offset + info.nbytes :] = foot


def _copy_bytes(draft: Draft, target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> None:
    if len(source) <= copying.PIECE:
        target[:] = source
    else:
        draft.copy(_slices(target, source), len(source))


def _slices(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Both arrays in pieces of about `PIECE` bytes: by their first axis, or the longest if the first is short."""
    count = -(-source.nbytes // copying.PIECE)
    axis = 0 if len(source) >= count else int(np.argmax(source.shape))
    step = max(1, source.shape[axis] // count)
    for start in range(0, source.shape[axis], step):
        piece = (*(slice(None),) * axis, slice(start, start + step))
        yield target[piece], source[piece]


def _is_plain(array: np.ndarray[Any, Any]) -> bool:
    """Whether NumPy assigns its items byte for byte. It does not copy the bytes between the fields of a structure."""
    return array.dtype.names is None and array.ndim > 0


def chunks(array: np.ndarray[Any, Any], size: int = _COPY_STEP) -> Iterator[memoryview]:
    """The bytes of `array` in C order, `size` at a time, and at least an item."""
    count = max(1, size // max(1, array.dtype.itemsize))
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
