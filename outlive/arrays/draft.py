"""A draft: a segment that is being written. Sealing makes it an array. Everything else removes it.

This module knows bytes and no numpy, because the actors write copies with it. `writer` writes arrays.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import time
from collections.abc import Callable, Iterable, Sequence
from io import FileIO
from typing import TYPE_CHECKING, Any, TypeVar

from outlive.arrays import huge
from outlive.arrays.copying import Copying, threads
from outlive.arrays.fresh import Fresh, NotAllocated
from outlive.arrays.full import explain, full
from outlive.arrays.layout import PRIVATE, is_cached, is_pinned
from outlive.arrays.lifetimes import deadline_from
from outlive.arrays.limits import NO_ROOM, is_of_handler
from outlive.arrays.parts import Gate
from outlive.arrays.pool import LEAST as RECYCLED
from outlive.arrays.remains import Remains, clear_remains
from outlive.arrays.segment import footer, header_of, pages, read_info, write_all
from outlive.arrays.spill.room import make_room
from outlive.arrays.spill.waiting import Wait
from outlive.arrays.staging import CREATE
from outlive.arrays.tail import give_back_tail
from outlive.arrays.warm import POPULATED, is_allocated, writable_map
from outlive.errors import CorruptArray, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_T = TypeVar("_T")
_ATTEMPTS = 10  # attempts to make room in memory while other writers take it, before a draft goes to disk


class Draft:
    """The unsealed segment of the array `info`. `make` makes one, with its bytes reserved."""

    _settled = False
    _fd: int | None = None
    _file: FileIO | None = None  # unless the draft is a small one: if it is dropped, it is closed, and its lock ends
    _map: mmap.mmap | None = None
    _gate: Gate | None = None
    _viewed = False  # set by the array that the caller filled, which holds the lock from then on
    _copying: Copying | None = None  # that other threads may have begun
    listed_in = 0  # of a copy: the epoch of the listing of this shelf to which the catalog added it

    def __init__(self, shelf: Shelf, info: ArrayInfo, path: str, mode: int = PRIVATE) -> None:
        self.shelf, self.info, self.path, self._mode = shelf, info, path, mode
        self._pid = os.getpid()
        self._remains: Remains | None = Remains(self, functools.partial(_discard_forgotten, self.__dict__))

    @classmethod
    def make(cls, shelf: Shelf, info: ArrayInfo, mode: int = PRIVATE) -> Draft:
        """Reserve the bytes of `info` and open its draft, still empty, with these `marks`.

        The draft is in memory. If memory is full, other arrays are spilled first. If nothing can be spilled, or the
        draft is larger than the budget of memory, it is on disk. A pinned draft is always in memory.

        Raises
        ------
        StoreFull
            Neither budget has room for it. Nothing is left behind.
        StoreUnavailable
            The shelf was removed.
        """
        clear_remains()
        try:
            draft = cls(shelf, info, f"{shelf.staging()}/{info.id}", mode)
            draft._reserve()
        except FileNotFoundError as error:
            if shelf.exists():
                raise StoreUnavailable(f"somebody removed {error.filename} while it was in use; try again") from None
            raise shelf.gone() from None
        except OSError as error:
            raise explain(shelf, error, info.size, counts=not is_cached(mode)) from None
        return draft

    @classmethod
    def write_small(
        cls, shelf: Shelf, segments: Sequence[tuple[ArrayInfo, Sequence[Any]]], mode: int = PRIVATE
    ) -> list[Draft]:
        """Complete drafts of the first of these `segments`, as many as memory has room for now, with these `marks`.

        The ledger is locked once for all of them, and while they are written: so they are to be few, and small.

        Parameters
        ----------
        segments
            The info of each array, and the bytes of its segment, in one or more parts.
        """
        clear_remains()
        drafts: list[Draft] = []
        try:
            folder = shelf.staging()
            with shelf.ledger.locked():
                for info, parts in segments:
                    draft = cls(shelf, info, f"{folder}/{info.id}", mode)
                    if not draft._write_now(parts):
                        break
                    drafts.append(draft)
        except BaseException as error:
            if isinstance(error, OSError) and not is_of_handler(error):
                return drafts  # the shelf was removed, or has no room for a folder: `make` says which
            for draft in drafts:
                draft.discard()
            raise
        return drafts

    def _write_now(self, parts: Sequence[Any]) -> bool:
        """Make the file in memory and write all of it; False if there is no room. The caller has the ledger's lock."""
        ledger, size = self.shelf.ledger, pages(self.info.size)
        try:
            if size <= ledger.free:
                # the file grows as it is written: if that ends early, what is there by then counts
                with ledger.counting(self.path, before=0, after=size):
                    self._fd = os.open(self.path, CREATE, PRIVATE)
                    if self._mode != PRIVATE:  # first: nobody may seal a copy as if it were put, if this process dies
                        os.fchmod(self._fd, self._mode)
                    write_all(self._fd, parts, 0)
                self.complete()
                return True
        except OSError as error:  # the file system has no room: the caller makes room, or says which is full
            self.discard()
            if is_of_handler(error):
                raise
        self.settled = True
        return False

    @property
    def ours(self) -> bool:
        """Whether this process makes it, and not a process that forked it in the middle of that."""
        return self._pid == os.getpid()

    @property
    def settled(self) -> bool:
        """Whether it needs no clearing away: it is sealed, or discarded, or a catalog may have listed it."""
        return self._settled

    @settled.setter
    def settled(self, value: bool) -> None:
        self._settled = value
        if value and self._remains is not None:
            self._remains.settled()
            self._remains = None  # else the next put would find it, and clear nothing away

    def _reserve(self) -> None:
        """Make the file and count its bytes: in memory, where room is made if needed, or else on disk.

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
                    raise full(self.shelf, self.info.size, "the budget", counts=not is_cached(self._mode))
        except OSError as error:
            if error.errno not in NO_ROOM or not self._go_to_disk():
                raise

    def _reserve_in_memory(self) -> bool:
        """Try to reserve in memory. True: room was made, but other writers took it each time."""
        attempts = 0
        while attempts < _ATTEMPTS and not self._reserve_here() and make_room(self.shelf, self.info.size):
            attempts += 1
        return attempts == _ATTEMPTS

    def _reserve_here(self) -> bool:
        tier = self.shelf.tiers.of(self.path)
        self._file = None if tier is None else tier.reserve(self.path, self.info.size)
        self._fd = None if self._file is None else self._file.fileno()
        if self._fd is not None and self._mode != PRIVATE:
            os.fchmod(self._fd, self._mode)
        return self._fd is not None

    def _go_to_disk(self) -> bool:
        """Move to disk, if it is not there yet and there is room."""
        disk = self.shelf.disk
        if is_pinned(self._mode) or disk is None or not self.shelf.spills() or self._is_on_disk:
            return False
        if self._fd is not None:
            self.close()
            self.shelf.delete_draft(self.path)
        in_memory, self.path = self.path, f"{disk.staging()}/{self.info.id}"
        if not self._reserve_here():
            self.path = in_memory
        return self._fd is not None

    def with_room(self, act: Callable[[int], _T]) -> _T:
        """Call `act` with the file's descriptor. If the file system of memory is full, do it again on disk.

        Raises
        ------
        StoreFull
            The disk has no room either.
        """
        while True:
            try:
                assert self._fd is not None
                return act(self._fd)
            except OSError as error:
                if error.errno not in NO_ROOM or not self._elsewhere():
                    raise explain(self.shelf, error, self.info.size) from None

    def memory(self) -> mmap.mmap | None:
        """All of the segment, mapped, and its memory allocated; None if it is better written by `write(2)`."""
        assert self._fd is not None
        if (warm := writable_map(self._fd, self.info.size)) is not None:
            return warm
        return self._fresh_memory(self._fd, threads(self.info.size))

    def _fresh_memory(self, fd: int, count: int) -> mmap.mmap | None:
        """The same of a new segment, if several threads allocate it or huge pages are to be asked for."""
        size, made = self.info.size, None
        if self._is_on_disk:  # some disks say only to `write(2)` that they are full
            return None
        if count == 1 and not huge.asked(fd, size):
            return None
        with contextlib.suppress(NotAllocated):  # `write(2)` says why
            fresh = Fresh(fd, size)
            self._copying = Copying(fresh.allocate)
            self._copying.run(fresh.pieces(), count)
            made = fresh.map
        self._copying = None  # nobody is at work any more, and it has the map, which would keep the memory
        return made

    def fresh(self, fd: int) -> Fresh | None:
        """All of a new segment, mapped, with no memory yet; None if it is better written by `write(2)`."""
        if self._is_on_disk or not huge.given(fd, self.info.size):
            return None
        with contextlib.suppress(NotAllocated):
            return Fresh(fd, self.info.size)
        return None

    @property
    def _is_on_disk(self) -> bool:
        return self.shelf.disk is not None and self.path.startswith(self.shelf.disk.path)

    def copy(self, pieces: Iterable[tuple[Any, Any]], nbytes: int) -> None:
        """Copy pieces of so many bytes in all into the mapped segment, by several threads if cores are idle."""
        self._copying = Copying()
        self._copying.run(pieces, threads(nbytes))

    def complete(self) -> None:
        """All of it is written."""
        self._start_to_live()
        self.close()

    def write_segment(self, parts: Iterable[Any]) -> None:
        """Write a whole segment, a copy of another, and verify it.

        Raises
        ------
        StoreFull
            The file system has no room.
        CorruptArray
            The bytes are not the segment of this array.
        """
        target, offset = self.target(), 0
        for part in parts:
            data = memoryview(part).cast("B")
            target.write(offset, data)
            offset += len(data)
            del data, part
        self.verify()

    def target(self) -> Target:
        """Where the bytes of a whole segment go, a copy of another; then `verify` it."""
        assert self._fd is not None
        try:
            return Target(self, self._fd)
        except OSError as error:
            raise explain(self.shelf, error, self.info.size) from None

    def verify(self) -> None:
        """Check that the bytes are a whole segment of this array. The draft is then complete.

        Raises
        ------
        CorruptArray
        """
        assert self._fd is not None
        if read_info(self._fd, self.path) != self.info:
            raise CorruptArray(f"{self.path} is not the segment that it was said to be")
        self.close()

    def _elsewhere(self) -> bool:
        """The file system of shared memory is full although the budget has room: try the disk."""
        try:
            return self._go_to_disk()
        except OSError:
            return False

    def _start_to_live(self) -> None:
        """Begin the time to live, once all is written. Sealing does not change it."""
        if self.info.ttl:
            now = time.time()
            os.utime(self.path, ns=(int(now * 1e9), deadline_from(now, self.info.ttl)))

    def map(self) -> mmap.mmap:
        """The whole file, writable. Its memory is allocated in full: writing cannot fail.

        Raises
        ------
        StoreFull
            The file system has no room.
        """
        self._map = self.with_room(self._allocated_map)
        return self._map

    def _allocated_map(self, fd: int) -> mmap.mmap:
        size = self.info.size
        recycled = is_allocated(os.fstat(fd), size)
        if not recycled:
            if (made := self._fresh_memory(fd, threads(size))) is not None:
                return made
            allocate(fd, size)
        return mmap.mmap(fd, size, flags=POPULATED if recycled else mmap.MAP_SHARED)

    def open_gate(self) -> None:
        """Let other processes write parts of the draft that `map` has mapped, until `detach` or `discard`.

        Raises
        ------
        StoreFull
            The file system has no room for one more file.
        """
        self._gate = Gate(self.path)
        try:
            self._gate.open()
        except OSError as error:
            raise explain(self.shelf, error, self.info.size) from None

    def detach(self) -> None:
        """Cut the array that `map` returned off the file: later writes to it stay in this process.

        Parts that other processes are writing are waited for, and no others begin: see `Gate.close`. The pages are
        mapped again, privately and at the same address. So even a view that the caller kept cannot change a sealed
        array. From here on, the mapping counts as a reader's.

        Raises
        ------
        StoreUnavailable
            A process goes on writing a part for too long.
        """
        assert self._map is not None and self._fd is not None
        if self._gate is not None:
            self._gate.close()
        self._map[: self.info.offset] = header_of(self.info)
        self._map[self.info.offset + self.info.nbytes :] = footer(self.info)  # last: now the segment is whole
        self._viewed = True
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        hold = (ctypes.c_char * len(self._map)).from_buffer(self._map)
        address = ctypes.addressof(hold)
        del hold
        flags = mmap.MAP_PRIVATE | _MAP_FIXED
        if _mmap(address, len(self._map), mmap.PROT_READ | mmap.PROT_WRITE, flags, self._fd, 0) != address:
            raise OSError(ctypes.get_errno(), "cannot map a sealed array privately")
        self._map = None  # it lives on in the caller's views
        self.complete()

    def exists(self) -> bool:
        """Whether it is still a draft: neither sealed (by any process) nor discarded."""
        return os.access(self.path, os.F_OK)

    def restamp(self, version: int) -> None:
        """Give the draft a later version. The footer keeps its length: versions have 19 digits until the year 2286.

        Raises
        ------
        FileNotFoundError
            The draft is sealed or gone.
        """
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.info = self.info._replace(version=version)
        try:
            write_all(fd, [footer(self.info)], self.info.offset + self.info.nbytes)
            self._start_to_live()
        finally:
            os.close(fd)

    def seal(self, epoch: int | None = None) -> None:
        """Make the draft an array, in one rename. See `Shelf.seal`."""
        self.shelf.seal(self, epoch)

    def discard(self) -> None:
        """Remove the draft. Its writer calls this if the write failed. In a child that it forked, nothing happens: the
        parent goes on.
        """
        if not self.ours:
            return
        if self._copying is not None:
            self._copying.wait()  # an interrupt may have come while other threads wrote
        self._map = None
        if self._gate is not None:
            self._gate.remove()
        self.close()
        self.shelf.delete_draft(self.path)
        self.settled = True

    def close(self) -> None:
        fd = self._fd
        if fd is not None:
            with contextlib.suppress(OSError):
                give_back_tail(fd, self.info.size)
            if not self._viewed and self.info.size >= RECYCLED:
                # a warm map or a forked child has the same open file, and would keep the lock
                fcntl.flock(fd, fcntl.LOCK_UN)
        # last: an interrupt above leaves it to `discard`; and without a call in between, where one could come
        file, self._fd, self._file = self._file, None, None
        if file is not None:
            file.close()
        elif fd is not None:
            os.close(fd)


class Target:
    """The bytes of a draft, any of which several threads may write. Not to be used once the draft is complete.

    New memory is had by `write(2)`, which lets one thread at a time allocate it. If it comes in huge pages, the segment
    is mapped, and each thread allocates the memory of its own bytes just before it fills them.
    """

    def __init__(self, draft: Draft, fd: int) -> None:
        self._draft, self._warm = draft, writable_map(fd, draft.info.size)
        self._fresh = draft.fresh(fd) if self._warm is None else None
        # Open as long as a thread may write: one whose read was interrupted may do so after the draft has gone, when
        # the number of the draft's own descriptor is another file's.
        self._file = None if self._warm is not None else FileIO(draft.path, "r+", opener=lambda *_: os.dup(fd))

    def window(self, offset: int, size: int) -> memoryview | None:
        """The memory that these bytes belong in; None if it cannot be had: `write` reports a lack of room."""
        if self._warm is not None:
            return memoryview(self._warm)[offset : offset + size]
        try:
            return None if self._fresh is None else self._fresh.window(offset, offset + size)
        except NotAllocated:
            return None

    def write(self, offset: int, data: memoryview) -> None:
        """Raises StoreFull if the file system has no room."""
        window = self.window(offset, len(data))
        if window is not None:
            window[:] = data
            return
        assert self._file is not None
        try:
            write_all(self._file.fileno(), [data], offset)
        except OSError as error:
            raise explain(self._draft.shelf, error, self._draft.info.size) from None


def _discard_forgotten(state: dict[str, Any]) -> None:
    """Give back the bytes of a draft that an interrupt between two steps has left without a reference."""
    draft = Draft.__new__(Draft)
    draft.__dict__ = state
    draft.discard()


def allocate(fd: int, size: int) -> None:
    """Allocate all memory of the file now: too little is an error here, and not a SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    step = bytes(1 << 20)  # macOS has no posix_fallocate
    for offset in range(0, size, len(step)):
        write_all(fd, [memoryview(step)[: min(len(step), size - offset)]], offset)


_MAP_FIXED = 0x10  # Linux and macOS have the same number
_libc = ctypes.CDLL(None, use_errno=True)
_mmap: Callable[..., int | None] = _libc.mmap
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
