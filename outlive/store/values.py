"""Values: between what programs put and get, and the bytes that segments hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from outlive.arrays.dtypes import encode_dtype
from outlive.arrays.packed import Packed, PackedBytes
from outlive.errors import UnsupportedArray
from outlive.store.elsewhere import WORTH_A_PART, rows
from outlive.store.gone import missing
from outlive.store.private import private
from outlive.store.reading import by_handle
from outlive.store.session import all_known
from outlive.values.arrays import plain
from outlive.values.packing import pack
from outlive.values.registry import codec_for
from outlive.values.structure import Structure
from outlive.values.wire import TRAILER_SIZE

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.store.session import Session

Array = np.ndarray[Any, Any]
ARRAY = "array"
"""The kind of a stored array, beside the names of codecs."""

_TAIL = 64 << 10  # bytes that are asked for first: they have most structures
_MANY, _AT_REST = 10_000, 1 << 30  # values that are put at once, and bytes of them, while the collector may rest
_NONE: Array = np.empty(0, np.uint8)
Read = Callable[[int, int], Array]


class Pieces(NamedTuple):
    """The bytes of a part of a value that is on another node."""

    tail: bytes  # with the structure
    nbytes: int
    buffers: dict[int, Array]  # by offset

    def read(self, offset: int, size: int) -> Array:
        return self.buffers[offset][:size] if size else _NONE

    def read_writable(self, offset: int, size: int) -> Array:
        """The same bytes, to be written to: they are this process's own."""
        if size:
            try:
                self.buffers[offset].flags.writeable = True
            except ValueError:  # a Ray Client's came by pickle
                self.buffers[offset] = self.buffers[offset].copy()
        return self.read(offset, size)

    def writable(self) -> Pieces:
        """The same, whose arrays may all be written to."""
        for offset, array in list(self.buffers.items()):
            self.read_writable(offset, array.nbytes)
        return self


def stored_form(value: Any, *, pickle: bool) -> Array | Packed:
    """A value as it is written: an array as it is, and all else packed.

    Raises
    ------
    UnsupportedArray, PickleRefused
        See `values.packing.pack`.
    """
    if type(value) is np.ndarray:
        dtype = value.dtype
        if dtype.isbuiltin == 1 and not dtype.hasobject:
            return value
    if isinstance(value, Packed):
        return value
    array = plain(value) if isinstance(value, np.ndarray) and codec_for(type(value)) is None else None
    if array is not None:
        try:
            encode_dtype(array.dtype)
        except UnsupportedArray:
            return pack(array, pickle=pickle)
        return array
    return pack(value, pickle=pickle)


def are_many_arrays(values: Any) -> bool:
    """Whether so many arrays are to be stored that Python's collector should rest meanwhile.

    It may rest only if nothing is made that it alone would free, and not for long: so they are arrays, in a container
    of Python's own, and of 1 GiB at most.
    """
    if type(values) not in {dict, list, tuple} or len(values) < _MANY:
        return False
    some = values.values() if type(values) is dict else values
    return all(type(one) is np.ndarray for one in some) and sum(one.nbytes for one in some) <= _AT_REST


def value_of(found: Any, path: tuple[Any, ...] = (), *, pickle: bool) -> Any:
    """The value, or the part of it at `path`, of the bytes that were read. An array is its own value.

    Raises
    ------
    CorruptArray, PickleRefused, UnknownType
        See `values.structure`.
    KeyError, IndexError, TypeError
        It has no such part.
    """
    if isinstance(found, PackedBytes):
        whole = found.view(np.ndarray)
        structure = Structure.of(whole, found.tail)
        if not path:
            return structure.whole(whole, pickle=pickle, private=lambda: _own_reader(found, whole))
        return _part(structure, path, _reader(whole), _own_reader(found, whole), pickle=pickle)
    if isinstance(found, Pieces):
        return _part(Structure(found.tail, found.nbytes), path, found.read, found.read_writable, pickle=pickle)
    return _inside(found, path)


def _part(structure: Structure, path: tuple[Any, ...], read: Read, private: Read | None, *, pickle: bool) -> Any:
    entry, rest = structure.find(structure.root, path)
    return structure.value(entry, read, rest, pickle=pickle, private=private)


def _reader(whole: Array) -> Read:
    return lambda offset, size: whole[offset : offset + size]


def _own_reader(found: PackedBytes, whole: Array) -> Read | None:
    """Reads the same bytes over a private map, which is made when they are first read."""
    if whole.flags.writeable:
        return None
    maps: list[Array] = []

    def read(offset: int, size: int) -> Array:
        if not maps:
            maps.append(private(found.info, found, sessions=all_known()).view(np.ndarray))
        return maps[0][offset : offset + size]

    return read


def _inside(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def pieces(session: Session, info: ArrayInfo, hint: str | None, path: tuple[Any, ...]) -> Array | Pieces:
    """The bytes of a value that its part at `path` needs. From another node, only these are moved. They are not kept.

    Raises
    ------
    ArrayNotFound, ArrayLost, CorruptArray, TooManyViews
    KeyError, IndexError, TypeError
        It has no such part.
    """
    if not info.codec or info.nbytes < WORTH_A_PART or session.shelf.has(info.id):
        return by_handle(session, info, hint)

    def read(begin: int, end: int) -> Array:
        data = rows(session, info, hint, begin, end) if end > begin else bytearray()
        if not isinstance(data, bytearray):
            raise missing(session, info, data, hint)
        array = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        array.flags.writeable = False
        return array

    tail = read(max(0, info.nbytes - _TAIL), info.nbytes).tobytes()
    length = Structure.length(tail[-TRAILER_SIZE:], info.nbytes)
    if length > len(tail):
        tail = read(info.nbytes - length, info.nbytes - len(tail)).tobytes() + tail
    structure = Structure(tail, info.nbytes)
    entry, _ = structure.find(structure.root, path)
    wanted = structure.buffers(entry)
    if sum(size for _, size in wanted) * 2 > info.nbytes:
        return by_handle(session, info, hint)
    return Pieces(tail, info.nbytes, {offset: read(offset, offset + size) for offset, size in wanted if size})
