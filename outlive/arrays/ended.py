"""The arrays that ended by themselves, with time and reason. Only messages use this."""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Iterable
from datetime import datetime
from io import FileIO
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.arrays.lock import FileLock, create
from outlive.arrays.names import name_of
from outlive.arrays.segment import write_all

_RECORD = struct.Struct("<16s16sqQ")  # id, hash of store and key, when (ns), why
_MOST = 100_000  # records: 5 MB
_AT_A_TIME = 20_000  # records that are read at most


class Why(enum.IntEnum):
    """Why an array ended."""

    JOB = 1
    SCOPE = 2
    TTL = 4
    NOT_PUT = 8


_WHY = {
    Why.JOB: "the job that put it ended (lifetime='job'; lifetime='detached' keeps an array until it is deleted)",
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
        self._path, self._lock = path, FileLock(path)

    def add(self, infos: Iterable[ArrayInfo], why: Why, when: int) -> None:
        data = b"".join(
            _RECORD.pack(bytes.fromhex(info.id), _name(info.store, info.key), when, int(why)) for info in infos
        )
        with self._lock.take(), FileIO(self._path, "r+", opener=create) as file:
            if os.fstat(file.fileno()).st_size + len(data) > 2 * _MOST * _RECORD.size:
                self._shorten()
            end = os.fstat(file.fileno()).st_size
            write_all(file.fileno(), [data], end - end % _RECORD.size)  # behind the last whole record

    def _shorten(self) -> None:
        with open(self._path, "rb+") as file:
            data = file.read()
            whole = len(data) - len(data) % _RECORD.size
            kept = data[max(0, whole - _MOST * _RECORD.size) : whole]
            file.seek(0)
            file.write(kept)
            file.truncate()

    def find(self, array_id: str) -> Ended | None:
        """When and why an array ended, None if it did not end by itself."""
        return self._last(bytes.fromhex(array_id), 0)

    def find_key(self, store: str, key: str) -> Ended | None:
        """When and why the last array of a key ended by itself; None if none did."""
        return self._last(_name(store, key), 1)

    def given_up(self) -> list[str]:
        """The arrays whose puts failed lately: their calls may still be on the way to the catalog."""
        try:
            with open(self._path, "rb") as file:
                end = os.fstat(file.fileno()).st_size // _RECORD.size * _RECORD.size
                begin = max(0, end - _AT_A_TIME * _RECORD.size)
                records = _RECORD.iter_unpack(os.pread(file.fileno(), end - begin, begin))
        except FileNotFoundError:
            return []
        return [identity.hex() for identity, _, _, why in records if why == Why.NOT_PUT]

    def _last(self, wanted: bytes, field: int) -> Ended | None:
        """The last record with `wanted` in this field, looked for from the end of the file."""
        try:
            with open(self._path, "rb") as file:
                end = os.fstat(file.fileno()).st_size // _RECORD.size * _RECORD.size
                while end > 0:
                    begin = max(0, end - _AT_A_TIME * _RECORD.size)
                    found = _last_in(os.pread(file.fileno(), end - begin, begin), wanted, field)
                    if found is not None:
                        return found
                    end = begin
        except FileNotFoundError:
            pass
        return None


def _last_in(data: bytes, wanted: bytes, field: int) -> Ended | None:
    """The same as `_last`, in these records: `rfind` is 20 times as fast as unpacking them."""
    at = len(data)
    while (at := data.rfind(wanted, 0, at)) >= 0:
        start = at - field * len(wanted)
        if start % _RECORD.size == 0:
            _, _, when, why = _RECORD.unpack_from(data, start)
            return Ended(when, Why(why))
        at += len(wanted) - 1  # a match across two fields
    return None


def _name(store: str, key: str | None) -> bytes:
    return bytes(16) if key is None else bytes.fromhex(name_of(store, key))
