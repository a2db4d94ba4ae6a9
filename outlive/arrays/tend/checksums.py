"""Checksums of sealed arrays, computed off the put path and kept in one file on the shelf.

Records are appended under the file's lock. Reading needs no lock. A record is the array's id and a CRC-32 of its whole
segment. A record that a crash cut short is ignored.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable
from io import FileIO

from outlive.arrays.layout import NEXT, PRIVATE
from outlive.arrays.lock import SHARED, FileLock, create, opened_locked
from outlive.arrays.segment import write_all

_RECORD = struct.Struct("<16sI")
_STEP = 1 << 20


class Checksums:
    """The checksums in the file `path`, by array id."""

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, FileLock(path)

    def load(self, wanted: Iterable[str] | None = None) -> dict[str, int]:
        """The checksums of these arrays, or of all."""
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}
        whole = len(data) - len(data) % _RECORD.size
        records = _RECORD.iter_unpack(memoryview(data)[:whole])
        if wanted is None:
            return {identity.hex(): checksum for identity, checksum in records}
        few = {bytes.fromhex(array_id) for array_id in wanted}
        return {identity.hex(): checksum for identity, checksum in records if identity in few}

    def count(self) -> int:
        """The number of records, including those of arrays that are gone."""
        try:
            return os.stat(self._path).st_size // _RECORD.size
        except FileNotFoundError:
            return 0

    def append(self, found: dict[str, int]) -> None:
        """Add records, behind the last whole one.

        Raises
        ------
        OSError
            There is no room for all of them.
        """
        if not found:
            return
        with self._lock.take(), FileIO(self._path, "r+", opener=create) as file:
            end = os.fstat(file.fileno()).st_size
            write_all(file.fileno(), [_pack(found)], end - end % _RECORD.size)

    def replace(self, records: dict[str, int]) -> None:
        """Keep these records and no others.

        Raises
        ------
        OSError
            There is no room for them. The records are as they were.
        """
        fd = os.open(
            f"{self._path}{NEXT}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE
        )
        try:
            write_all(fd, [_pack(records)], 0)
        finally:
            os.close(fd)
        os.rename(f"{self._path}{NEXT}", self._path)


def _pack(records: dict[str, int]) -> bytes:
    return b"".join(_RECORD.pack(bytes.fromhex(array_id), checksum) for array_id, checksum in records.items())


def checksum_of(path: str, pause: Callable[[], object] = lambda: None) -> int:
    """CRC-32 of a segment's bytes, read a MiB at a time into the same buffer. It cannot be recycled meanwhile.

    Parameters
    ----------
    pause
        Called after each MiB.

    Raises
    ------
    OSError
        The file is gone or unreadable.
    """
    with opened_locked(path, SHARED) as file:
        fd = file.fileno()
        buffer, checksum, offset = bytearray(max(1, min(_STEP, os.fstat(fd).st_size))), 0, 0
        while count := os.preadv(fd, [buffer], offset):
            checksum = zlib.crc32(memoryview(buffer)[:count], checksum)
            offset += count
            pause()
        return checksum
