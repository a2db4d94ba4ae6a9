"""A draft: a segment that is being written. Sealing makes it an array, anything else leaves no trace."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.full import full
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import PRIVATE, is_pinned
from outlive.arrays.lifetimes import deadline_from
from outlive.arrays.remains import Remains
from outlive.arrays.segment import footer, header_of, read_info, write_all
from outlive.arrays.shelf import NO_ROOM
from outlive.arrays.spill.room import make_room
from outlive.arrays.spill.waiting import Wait
from outlive.arrays.tail import give_back_tail
from outlive.arrays.warm import POPULATED, is_allocated, writable_map
from outlive.errors import CorruptArray

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

_ATTEMPTS = 10  # to make room in memory, while others are faster, before a draft goes to disk
_COPY_STEP = 4 << 20  # bytes of a non-contiguous array that are gathered at a time


class Draft:
    """The unsealed segment of the array `info`. Made by `Shelf.draft`, which has reserved its bytes."""

    listed_in = 0  # of a copy: the epoch of the listing of this shelf to which the catalog added it

    def __init__(self, shelf: Shelf, info: ArrayInfo, path: str, mode: int = PRIVATE) -> None:
        self.shelf, self.info, self.path, self._mode = shelf, info, path, mode
        self._settled = False
        self._fd: int | None = None
        self._map: mmap.mmap | None = None
        self._viewed = False  # by the array that the caller filled, which holds the lock from then on
        self._remains = Remains(self, functools.partial(_discard_forgotten, self.__dict__))

    @property
    def settled(self) -> bool:
        """Whether it is sealed, or discarded, or a catalog may have listed it."""
        return self._settled

    @settled.setter
    def settled(self, value: bool) -> None:
        self._settled = value
        if value:
            self._remains.settled()

    def reserve(self) -> None:
        """Make the file, and count its bytes: in memory, where room is made if need be, or else on disk.

        Raises
        ------
        StoreFull, OSError
        """
        wait = Wait(self.shelf)
        try:
            while True:
                overtaken = self._reserve_in_memory()
                if self._fd is not None or self._go_to_disk():
                    return
                if not overtaken and not wait.goes_on():
                    raise full(self.shelf, self.info.size, "the budget")
        except OSError as error:
            if error.errno not in NO_ROOM or not self._go_to_disk():
                raise

    def _reserve_in_memory(self) -> bool:
        """Try to be there; whether room was made, and others were faster each time."""
        attempts = 0
        while attempts < _ATTEMPTS and not self._reserve_here() and make_room(self.shelf, self.info.size):
            attempts += 1
        return attempts == _ATTEMPTS

    def _reserve_here(self) -> bool:
        self._fd = self.shelf.reserve(self.path, self.info.size)
        if self._fd is not None and self._mode != PRIVATE:
            os.fchmod(self._fd, self._mode)
        return self._fd is not None

    def _go_to_disk(self) -> bool:
        """Be on disk instead, if it is not yet and there is room."""
        disk = self.shelf.disk
        if is_pinned(self._mode) or disk is None or not self.shelf.spills() or self.path.startswith(disk.path):
            return False
        if self._fd is not None:
            self.close()
            self.shelf.discard(self)
        in_memory, self.path = self.path, f"{disk.staging()}/{self.info.id}"
        if not self._reserve_here():
            self.path = in_memory
        return self._fd is not None

    def write(self, array: np.ndarray[Any, Any]) -> None:
        """Write header, data and footer.

        Raises
        ------
        StoreFull
            The file system has no room (`write(2)` says so; nothing is left behind once discarded).
        """
        try:
            self._write(array)
        except OSError as error:
            if error.errno not in NO_ROOM or not self._elsewhere():
                raise self.shelf.explain(error, self.info.size) from None
            self.write(array)

    def write_segment(self, parts: Iterable[Any]) -> None:
        """Write a whole segment, a copy of another, and verify it.

        Raises
        ------
        StoreFull
            The file system has no room.
        CorruptArray
            It is not the segment of this array.
        """
        assert self._fd is not None
        offset = 0
        warm = writable_map(self._fd, self.info.size)
        try:
            for part in parts:
                data = memoryview(part).cast("B")
                if warm is None:
                    write_all(self._fd, [data], offset)
                else:
                    warm[offset : offset + len(data)] = data
                offset += len(data)
                del data, part
        except OSError as error:
            raise self.shelf.explain(error, self.info.size) from None
        if read_info(self._fd, self.path) != self.info:
            raise CorruptArray(f"{self.path} is not the segment that it was said to be")
        self.close()

    def _elsewhere(self) -> bool:
        """The file system of shared memory is full, whatever the budget says: try the disk's."""
        try:
            return self._go_to_disk()
        except OSError:
            return False

    def _write(self, array: np.ndarray[Any, Any]) -> None:
        assert self._fd is not None
        if array.flags.forc and (warm := writable_map(self._fd, self.info.size)):
            self._fill(warm, array)
        elif array.flags.forc or not array.nbytes:
            data: Any = array.ravel(order="K").view(np.uint8).data if self.info.nbytes else b""
            write_all(self._fd, [header_of(self.info), data, footer(self.info)], 0)
        else:
            offset = self.info.offset
            write_all(self._fd, [header_of(self.info)], 0)
            for chunk in _chunks(array):
                write_all(self._fd, [chunk], offset)
                offset += len(chunk)
            write_all(self._fd, [footer(self.info)], offset)
        self._start_to_live()
        self.close()

    def _start_to_live(self) -> None:
        """Its time to live begins when all of it is written; whoever seals it does not change that."""
        if self.info.ttl:
            now = time.time()
            os.utime(self.path, ns=(int(now * 1e9), deadline_from(now, self.info.ttl)))

    def _fill(self, warm: mmap.mmap, array: np.ndarray[Any, Any]) -> None:
        """Write header, data and footer to the mapped segment."""
        offset, end = self.info.offset, self.info.offset + self.info.nbytes
        warm[:offset] = header_of(self.info)
        np.frombuffer(warm, np.uint8, self.info.nbytes, offset)[:] = array.ravel(order="K").view(np.uint8)
        warm[end:] = footer(self.info)

    def map(self) -> np.ndarray[Any, Any]:
        """The array itself, writable, for the caller to fill. Its memory is allocated in full: writing cannot fail.

        Raises
        ------
        StoreFull
            The file system has no room.
        """
        try:
            assert self._fd is not None
            recycled = is_allocated(os.fstat(self._fd), self.info.size)
            if not recycled:
                allocate(self._fd, self.info.size)
            self._map = mmap.mmap(self._fd, self.info.size, flags=POPULATED if recycled else mmap.MAP_SHARED)
        except OSError as error:
            if error.errno not in NO_ROOM or not self._elsewhere():
                raise self.shelf.explain(error, self.info.size) from None
            return self.map()
        order: Any = "F" if self.info.fortran else "C"
        dtype = decode_dtype(self.info.dtype)
        array: np.ndarray[Any, Any] = np.ndarray(self.info.shape, dtype, self._map, self.info.offset, order=order)
        return array

    def detach(self) -> None:
        """Cut the array that `map` returned off the file: what is written to it from now on stays in this process.

        The pages are mapped again, privately and at the same address, so that even a view that the caller kept cannot
        change a sealed array. The mapping counts as a reader's from here on.
        """
        assert self._map is not None and self._fd is not None
        self._map[: self.info.offset] = header_of(self.info)
        self._map[self.info.offset + self.info.nbytes :] = footer(self.info)  # last: now it is whole
        self._viewed = True
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        hold = (ctypes.c_char * len(self._map)).from_buffer(self._map)
        address = ctypes.addressof(hold)
        del hold
        flags = mmap.MAP_PRIVATE | _MAP_FIXED
        if _mmap(address, len(self._map), mmap.PROT_READ | mmap.PROT_WRITE, flags, self._fd, 0) != address:
            raise OSError(ctypes.get_errno(), "cannot map a sealed array privately")
        self._map = None  # lives on in the views that the caller has
        self._start_to_live()
        self.close()

    def exists(self) -> bool:
        """Whether it is still a draft: neither sealed, by whomever, nor discarded."""
        return os.access(self.path, os.F_OK)

    def restamp(self, version: int) -> None:
        """Give the draft a later version. Its footer keeps its length: versions have 19 digits until the year 2286.

        Raises
        ------
        FileNotFoundError
            It is no draft any more.
        """
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.info = self.info._replace(version=version)
        try:
            write_all(fd, [footer(self.info)], self.info.offset + self.info.nbytes)
            self._start_to_live()
        finally:
            os.close(fd)

    def seal(self, epoch: int | None = None) -> None:
        """Make it an array, in one rename. See `Shelf.seal`."""
        self.shelf.seal(self, epoch)

    def discard(self) -> None:
        """Leave no trace of it: for the caller whose write failed."""
        self._map = None
        self.close()
        self.shelf.discard(self)
        self.settled = True

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                give_back_tail(fd, self.info.size)
            if not self._viewed:
                fcntl.flock(fd, fcntl.LOCK_UN)  # a warm map or a forked child has the same open file, and would keep it
            os.close(fd)


def _discard_forgotten(state: dict[str, Any]) -> None:
    """A draft that nobody knows any more, by an interrupt between two steps: no reason to keep its bytes."""
    draft = Draft.__new__(Draft)
    draft.__dict__ = state
    draft.discard()


def _chunks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """The bytes of `array` in C order, a few MiB at a time."""
    count = max(1, _COPY_STEP // max(1, array.dtype.itemsize))
    flags = ["external_loop", "buffered", "zerosize_ok"]
    for chunk in np.nditer(array, flags=flags, buffersize=count, order="C"):  # type: ignore[call-overload]
        yield np.ascontiguousarray(chunk).view(np.uint8).data


def allocate(fd: int, size: int) -> None:
    """Give the file all its memory now: what is missing is an error here, and never a SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    step = bytes(1 << 20)  # macOS has no posix_fallocate
    for offset in range(0, size, len(step)):
        write_all(fd, [memoryview(step)[: min(len(step), size - offset)]], offset)


_MAP_FIXED = 0x10  # the same in Linux and macOS
_libc = ctypes.CDLL(None, use_errno=True)
_mmap: Callable[..., int | None] = _libc.mmap
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
