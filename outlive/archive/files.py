"""Files of an archive: an array or value becomes a file, and a file is checked against its entry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from outlive.archive import npy
from outlive.archive.manifest import ARROW, NPY, PACKED, Entry, can_tell
from outlive.archive.names import name_of
from outlive.arrays import segment
from outlive.errors import CorruptArchive, PickleRefused, UnsupportedArray
from outlive.values.structure import Structure

if TYPE_CHECKING:
    from outlive.archive.place import Place, Reader
    from outlive.arrays.info import ArrayInfo

Array = np.ndarray[Any, Any]
_STEP = 8 << 20  # bytes that are hashed and written, or read, at a time
_TABLE = "arrow.table"  # the kind of Arrow's tables


class File(NamedTuple):
    """A file that is to be written."""

    entry: Entry  # its SHA-256 is not known yet
    header: bytes
    data: memoryview

    @classmethod
    def of(cls, info: ArrayInfo, view: Array) -> File:
        """The file of an array, or of the bytes of another value. Nothing is copied.

        Raises
        ------
        CorruptArray
        UnsupportedArray
            No manifest could be read that has its dtype.
        """
        assert info.key is not None
        data = _bytes_of(view)
        if not info.codec:
            header = segment.header(info.dtype, info.shape, info.fortran)
            order = "F" if info.fortran else "C"
            about: dict[str, Any] = {"codec": NPY, "dtype": info.dtype, "shape": info.shape, "order": order}
            entry = _entry(info, NPY, len(header) + len(data), about)
            if not can_tell(entry):
                raise UnsupportedArray(
                    f"no manifest can tell the dtype {info.dtype:.200}: give its fields titles that are text"
                )
            return cls(entry, header, data)
        structure = Structure.of(view)
        stream = structure.whole_state(_TABLE) if info.codec == _TABLE else None
        if stream is not None:
            data = data[stream[0] : sum(stream)]
        codec = PACKED if stream is None else ARROW
        about = {"codec": codec, "kind": info.codec, "pickle": structure.has_pickle()}
        return cls(_entry(info, codec, len(data), about), b"", data)

    def pieces(self) -> Iterator[memoryview]:
        """Its bytes, some MiB at a time."""
        if self.header:
            yield memoryview(self.header)
        for start in range(0, len(self.data), _STEP):
            yield self.data[start : start + _STEP]

    def sha256(self) -> str:
        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()

    def write(self, place: Place) -> str:
        """Write it; returns its SHA-256."""
        found = hashlib.sha256()

        def hashed() -> Iterator[memoryview]:
            for piece in self.pieces():
                found.update(piece)
                yield piece

        place.write(self.entry.file, hashed(), self.entry.bytes)
        return found.hexdigest()

    def is_as(self, other: Entry) -> bool:
        """Whether it may be the file of that entry, as far as can be told without its SHA-256."""
        mine = self.entry
        return mine[2:4] == other[2:4] and mine[7:] == other[7:]


def _entry(info: ArrayInfo, codec: str, nbytes: int, about: dict[str, Any]) -> Entry:
    key = info.key or ""
    file = name_of(key, info.id, codec)
    return Entry(key=key, file=file, bytes=nbytes, sha256="", id=info.id, version=info.version, **about)


def _bytes_of(view: Array) -> memoryview:
    """The bytes of a contiguous array, in the order in which they lie in memory."""
    if not view.nbytes:
        return memoryview(b"")
    plain = view.view(np.ndarray)
    flat = plain if plain.flags.c_contiguous else plain.T
    return flat.reshape(-1).view(np.uint8).data


# --- reading


def fill(place: Place, entry: Entry, target: Callable[[], Array]) -> Array:
    """Read the data of an entry's file into `target()`, which has its size, and verify all of the file.

    `target` is called once the file has the size that the manifest says, and so not if that lies.

    Raises
    ------
    CorruptArchive
    FileNotFoundError
        There is no such file (any more).
    """
    with place.read(entry.file) as reader:
        if reader.size != entry.bytes:
            raise bad(place, entry, f"it has {reader.size} bytes, and the manifest says {entry.bytes}")
        found = hashlib.sha256()
        if entry.codec == NPY:
            header = _read_header(reader, entry.bytes - entry.nbytes)
            reason = npy.why_not(header, entry)
            if reason is not None:
                raise bad(place, entry, f"{reason}, and the manifest says {entry.dtype} of shape {entry.shape}")
            found.update(header)
        array = target()
        data = memoryview(b"") if not array.nbytes else _bytes_of(array)
        for start in range(0, len(data), _STEP):
            piece = data[start : start + _STEP]
            if reader.read_into(piece) != len(piece):
                raise bad(place, entry, "it became shorter while it was read")
            found.update(piece)
    if found.hexdigest() != entry.sha256:
        raise bad(place, entry, f"its SHA-256 is {found.hexdigest()}, and the manifest says {entry.sha256}")
    return array


def _read_header(reader: Reader, size: int) -> bytes:
    if not 0 < size <= npy.LONGEST:
        return b""
    header = bytearray(size)
    return bytes(header[: reader.read_into(memoryview(header))])


def check_trust(place: Place, entry: Entry, data: Array, *, pickle: bool) -> None:
    """Look at the structure of a packed value.

    Raises
    ------
    CorruptArchive
    PickleRefused
        It has a pickle, or names a class, and `pickle` does not allow that.
    """
    try:
        structure = Structure.of(data)
    except ValueError as error:
        raise bad(place, entry, str(error)) from None
    if pickle:
        return
    what = "is pickled" if structure.has_pickle() else ""
    what = what or f"names classes, whose modules its readers import ({', '.join(sorted(structure.classes()))[:200]})"
    if structure.has_pickle() or structure.classes():
        raise PickleRefused(
            f"{entry.key!r} in {place} {what}, which can run code: load it with pickle=True (--pickle) if you trust "
            "whoever can write there"
        )


def bad(place: Place, entry: Entry, reason: str) -> CorruptArchive:
    """The error for a file that is not what the manifest says."""
    return CorruptArchive(
        f"{entry.key!r} was not loaded: {place}/{entry.file}: {reason}. Remove that file and save again"
    )
