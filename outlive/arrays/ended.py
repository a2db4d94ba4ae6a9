"""What ended by itself, when and why: for whoever looks for it later. Read for messages only."""

from __future__ import annotations

import enum
import fcntl
import os
import struct
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.arrays.names import name_of

_RECORD = struct.Struct("<16s16sqQ")  # id, hash of store and key, when (ns), why
_MOST = 100_000  # records: 5 MB


class Why(enum.IntEnum):
    """Why an array ended."""

    JOB = 1
    SCOPE = 2
    TTL = 4
    NOT_PUT = 8


_WHY = {
    Why.JOB: "the Ray job that put it ended (lifetime='job'; lifetime='detached' keeps an array until it is deleted)",
    Why.SCOPE: "the scope it was put in ended (`with store.scope()`, or its process)",
    Why.NOT_PUT: "its put failed or was interrupted, or its writer died, before it was stored",
    Why.TTL: "its time to live was over (ttl=; `handle.touch()` renews it)",
}


class Ended(NamedTuple):
    """One array that ended."""

    when: int  # nanoseconds since 1970
    why: Why

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.when / 1e9).astimezone()
        return f"it ended at {when:%Y-%m-%d %H:%M:%S}: {_WHY[self.why]}"


class EndedArrays:
    """The records in the file `path`; the last hundred thousand."""

    def __init__(self, path: str) -> None:
        self._path = path

    def add(self, infos: Iterable[ArrayInfo], why: Why, when: int) -> None:
        data = b"".join(
            _RECORD.pack(bytes.fromhex(info.id), _name(info.store, info.key), when, int(why)) for info in infos
        )
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_size + len(data) > 2 * _MOST * _RECORD.size:
                self._shorten()
            end = os.fstat(fd).st_size
            os.pwrite(fd, data, end - end % _RECORD.size)  # behind the last whole one
        finally:
            os.close(fd)

    def _shorten(self) -> None:
        with open(self._path, "rb+") as file:
            data = file.read()
            kept = data[-_MOST * _RECORD.size :]
            file.seek(0)
            file.write(kept)
            file.truncate()

    def find(self, array_id: str) -> Ended | None:
        """When and why an array ended, None if it did not end by itself."""
        return self._last(bytes.fromhex(array_id), 0)

    def find_key(self, store: str, key: str) -> Ended | None:
        """When and why the last array of a key ended that ended by itself."""
        return self._last(_name(store, key), 1)

    def _last(self, wanted: bytes, field: int) -> Ended | None:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        found = None
        for record in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
            if record[field] == wanted:
                found = Ended(record[2], Why(record[3]))
        return found


def _name(store: str, key: str | None) -> bytes:
    return bytes(16) if key is None else bytes.fromhex(name_of(store, key))
