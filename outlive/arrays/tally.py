"""The tally: what all processes of a node have done on its shelf since that was made: puts, gets, spills and the like.

Each process adds to numbers of its own, in a row of a mapped file, so that adding takes no lock and no call of the
system. The kernel ends a process's hold of its row when the process ends, however that is. The next process goes on
from the numbers that stand there: so their sum only grows, and nobody has to clear up.

A process that cannot have a row goes on without counting: no read and no put fails for that.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import os
import struct
import weakref

from outlive.arrays.layout import NEXT, PRIVATE
from outlive.arrays.lock import living

PUTS, PUT_BYTES, VIEWED, IN_MEMORY, ON_DISK, MISSED, COPIED, COPIED_BYTES = range(8)
SPILLED, SPILLED_BYTES, PROMOTED, EVICTED, REFUSED, RECYCLED, TRIMMED, SPARED = range(8, 16)
FELL_BACK = 16
"""The numbers of a row. VIEWED: reads of arrays that the process had open. IN_MEMORY, ON_DISK: those it opened there.
MISSED: reads of arrays that were not on the shelf. COPIED: from other nodes. REFUSED: puts for which there was no room.
RECYCLED, TRIMMED and SPARED are workers. FELL_BACK: arrays that were asked for through Ray, as another node's port
could not be used.
"""

NUMBERS = 20
_ROW = NUMBERS * 8  # bytes
_FIRST, _END = 2, 512  # the rows of processes. The header is before them
_SIZE = _END * _ROW
_MAGIC = b"tally 02"
_TAKEN = struct.Struct(f"@{NUMBERS}q")  # behind the magic: what the keeper has taken
_LOCK = struct.Struct("@hhqqi4x")  # `struct flock` of fcntl(2) where numbers have 64 bits
_OFD_LOCK = getattr(fcntl, "F_OFD_SETLK", None)  # Linux has it
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Tally:
    """The tally in the file `path`. Any thread may add to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own: memoryview | array.array[int] = _nowhere()
        self._has_looked = False
        self.viewed = 0
        """Reads that opened no file, since this process's last one that did. One more in the row costs 0.1 us."""
        _tallies.add(weakref.ref(self, _tallies.discard))

    def make(self) -> None:
        """Make the file, if there is none. The caller has the ledger's lock. Without room, nothing is counted."""
        with contextlib.suppress(OSError):
            if not _is_tally(self._path):
                _write(f"{self._path}{NEXT}")
                # what was there is replaced and not cut: a process that has it mapped would die of that (SIGBUS)
                os.rename(f"{self._path}{NEXT}", self._path)

    def add(self, number: int, count: int = 1) -> None:
        """Add to one of this process's numbers."""
        if not self._has_looked:
            self._has_looked = True
            with contextlib.suppress(OSError, ValueError):
                self._own = self._claimed()
        try:
            self._own[number] += count
        except (ValueError, OverflowError):  # somebody else wrote there, and the number is at its end
            self._own = _nowhere()

    def _claimed(self) -> memoryview:
        """A row that no other process has; one that others have too if there are too many processes."""
        fd = os.open(self._path, _FLAGS)
        try:
            if not _is_whole(fd):
                raise OSError(errno.EINVAL, "no tally", self._path)
            first = _FIRST + os.getpid() % (_END - _FIRST)
            row = next((one for one in (*range(first, _END), *range(_FIRST, first)) if _lock(fd, one)), first)
            page = mmap.mmap(fd, _SIZE)  # it keeps the file open, and so the row locked
        finally:
            os.close(fd)
        return memoryview(page).cast("q")[NUMBERS * row : NUMBERS * (row + 1)]

    def totals(self) -> list[int]:
        """The sums of all rows, by number; all are 0 if nothing is counted."""
        with contextlib.suppress(OSError):
            fd = os.open(self._path, _FLAGS)
            try:
                return _totals(fd)
            finally:
                os.close(fd)
        return [0] * NUMBERS

    def take(self) -> list[int]:
        """By how much each sum has grown since this was last called, by any process. Only the keeper calls it.

        It notes in the file what was taken, where a keeper that is started anew finds it.
        """
        with contextlib.suppress(OSError, struct.error):  # the second: sums of what somebody else wrote there
            fd = os.open(self._path, _FLAGS)
            try:
                if _is_whole(fd):
                    totals, taken = _totals(fd), _TAKEN.unpack(os.pread(fd, _TAKEN.size, len(_MAGIC)))
                    os.pwrite(fd, _TAKEN.pack(*totals), len(_MAGIC))
                    return [max(0, now - before) for now, before in zip(totals, taken, strict=True)]
            finally:
                os.close(fd)
        return [0] * NUMBERS

    def after_fork(self) -> None:
        """In a forked child: the row stays the parent's, as does `viewed`. The child gets a row when it next adds."""
        self._own, self._has_looked, self.viewed = _nowhere(), False, 0


def _nowhere() -> array.array[int]:
    """Numbers that nobody asks for."""
    return array.array("q", bytes(_ROW))


def _is_tally(path: str) -> bool:
    """Whether a tally is there. Raises OSError if that cannot be seen."""
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        return False
    try:
        return _is_whole(fd)
    finally:
        os.close(fd)


def _write(path: str) -> None:
    """Write a tally in which all numbers are 0. Without room for all of it, OSError is raised and no file stays."""
    fd = os.open(path, _FLAGS | os.O_CREAT | os.O_TRUNC, PRIVATE)
    try:
        page = _MAGIC.ljust(_SIZE, b"\0")  # all of it is written: a hole could become a SIGBUS
        if os.pwrite(fd, page, 0) != _SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def _is_whole(fd: int) -> bool:
    return os.fstat(fd).st_size == _SIZE and os.pread(fd, len(_MAGIC), 0) == _MAGIC


def _totals(fd: int) -> list[int]:
    page = os.pread(fd, _SIZE, 0)
    if len(page) != _SIZE:
        return [0] * NUMBERS
    numbers = memoryview(page).cast("q")
    return [sum(numbers[_FIRST * NUMBERS + number :: NUMBERS]) for number in range(NUMBERS)]


def _lock(fd: int, row: int) -> bool:
    """Lock a row until the file is closed everywhere, which a process's end does too; False if another one has it.

    The lock belongs to the open file, and not to the process: so no other open file of the same process ends it.
    """
    if _OFD_LOCK is None:
        return True
    try:
        fcntl.fcntl(fd, _OFD_LOCK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, row * _ROW, _ROW, 0))
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    return True


_tallies: set[weakref.ref[Tally]] = set()


def _after_fork() -> None:
    for tally in living(_tallies):
        tally.after_fork()


os.register_at_fork(after_in_child=_after_fork)
