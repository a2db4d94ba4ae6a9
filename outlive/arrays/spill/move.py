"""Moving a sealed segment from memory to disk (spill), and back (promote). No reader waits for it.

The segment is copied under a reader's lock, so it is neither deleted nor written meanwhile. Then, in one step under the
ledger's lock, the copy is renamed into its mem/ and the original goes to the pool. So the array is in at least one tier
at every moment. A process that is killed leaves a copy under a name that is no array's, or the array in both tiers. The
ledger then has the array's id, and the next move or round of the keeper settles it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable
from io import FileIO
from typing import TYPE_CHECKING

from outlive.arrays import huge
from outlive.arrays.copying import Copying, threads
from outlive.arrays.fresh import Fresh, NotAllocated, ask_for_huge_pages
from outlive.arrays.layout import COPY, PINNED, is_cached, is_id, is_pinned, marked
from outlive.arrays.lock import EXCLUSIVE, SHARED, is_at, open_locked, try_lock
from outlive.arrays.segment import COPY_BELOW, pages, write_all
from outlive.arrays.tail import give_back_tail
from outlive.arrays.tally import PROMOTED, SPILLED, SPILLED_BYTES

if TYPE_CHECKING:
    from outlive.arrays.disk import Disk
    from outlive.arrays.shelf import Shelf

_STEP = 16 << 20  # bytes that are copied at a time: an interrupt waits for that
_WORTH_IT, _WORTH_IT_HUGE = 3, 2  # threads that read sooner than one copies, into small pages and huge ones


class NoRoomOnDisk(Exception):
    """The disk's budget, or its file system, is full."""


def spill(shelf: Shelf, disk: Disk, array_id: str) -> int:
    """Move an array to disk. Returns the bytes of memory that are free now, or wait in the pool.

    That is 0 if the array is pinned, or gone, or a process looks at it: spilling it would free nothing.

    Raises
    ------
    NoRoomOnDisk, OSError
        Nothing has changed.
    """
    source, copy = f"{shelf.mem}/{array_id}", None
    file = open_locked(source, SHARED)
    if file is None:
        return 0
    fd, pid = file.fileno(), os.getpid()
    try:
        status = os.fstat(fd)
        if is_pinned(status.st_mode) or is_cached(status.st_mode) or not stat.S_ISREG(status.st_mode):
            return 0
        copy = f"{disk.staging()}/{array_id}{COPY}"
        out = disk.reserve(copy, status.st_size)
        if out is None:
            raise NoRoomOnDisk
        _fill(out, fd, status, _copy)
        settle(shelf)
        with shelf.ledger.locked():
            # else it was deleted or pinned meanwhile, or this is a signal handler in the midst of another move
            if is_at(source, fd) and not is_pinned(os.fstat(fd).st_mode) and shelf.ledger.moving is None:
                freed = _switch_to_disk(shelf, disk, array_id, copy, fd)
                if freed:
                    shelf.tally.add(SPILLED)
                    shelf.tally.add(SPILLED_BYTES, status.st_size)
                return freed
        return 0
    finally:
        file.close()
        if copy is not None and pid == os.getpid():  # else the parent goes on with it
            _discard(shelf, copy)
            disk.pool.trim()  # this copy is not needed


def _switch_to_disk(shelf: Shelf, disk: Disk, array_id: str, copy: str, fd: int) -> int:
    source, target, size = f"{shelf.mem}/{array_id}", f"{disk.mem}/{array_id}", os.fstat(fd).st_size
    disk.release(array_id)  # left by a process of an earlier version that was killed between these steps
    _same_marks(copy, fd)
    try:
        shelf.ledger.moving = array_id
        os.rename(copy, target)
        shelf.ledger.moved()
        if size <= COPY_BELOW:  # small segments are read without a lock, so they are never emptied
            with shelf.ledger.counting(source, before=pages(size), after=0):
                os.unlink(source)
            _settled(shelf)
            return pages(size)
        # The lock is taken before the segment is in the pool, where another process may trim it first. A reader that is
        # refused meanwhile looks on disk.
        if not try_lock(fd, EXCLUSIVE):  # a process looks at it
            _back(shelf, disk, array_id)
            return 0
        shelf.pool.add(source, array_id, size, fd)
        _settled(shelf)
    except BaseException:  # an interrupt too
        _back(shelf, disk, array_id)
        raise
    return pages(size)


def _back(shelf: Shelf, disk: Disk, array_id: str) -> None:
    """Keep the array in memory after all. A reader that has opened the copy on disk goes on with that.

    A child that was forked meanwhile does not have the ledger's lock, and leaves this to its parent.
    """
    if shelf.ledger.mine and os.path.lexists(f"{shelf.mem}/{array_id}"):
        shelf.ledger.moved()
        disk.release(array_id)
    _settled(shelf)


def _settled(shelf: Shelf) -> None:
    if shelf.ledger.mine:  # else this is a child, and its parent goes on
        shelf.ledger.moving = None


def settle(shelf: Shelf) -> str | None:
    """Settle the move that a process was killed in, or interrupted: an array that is in both tiers goes from disk.

    Returns the id of an array that was in both; None if there is none. It costs a look at the ledger.
    """
    ledger, disk = shelf.ledger, shelf.disk
    if ledger.moving is None or ledger.mine or disk is None or not disk.is_mounted():
        return None  # if the ledger is locked here, this thread may be in the midst of that move itself
    with ledger.locked():
        array_id, is_double = ledger.moving, False
        with contextlib.suppress(OSError):  # the disk is read-only now: both stay until `check`, and moves go on
            is_double = array_id is not None and mend_double(shelf, disk, array_id)
        ledger.moving = None
    disk.pool.trim()
    return array_id if is_double else None


def mend_double(shelf: Shelf, disk: Disk, array_id: str) -> bool:
    """Remove an array from disk, if it is in memory too; whether it was in both. The caller holds the ledger's lock."""
    if not os.path.lexists(f"{shelf.mem}/{array_id}") or not os.path.lexists(f"{disk.mem}/{array_id}"):
        return False
    shelf.ledger.moved()
    disk.release(array_id)
    return True


def promote(shelf: Shelf, disk: Disk, array_id: str, *, pinned: bool = False) -> bool:
    """Move an array back to memory, if there is room without spilling; returns whether it moved. `pinned`: it stays
    there.

    Readers of the file on disk go on with it. It counts as used until they are gone.

    Raises
    ------
    OSError
        Nothing has changed.
    """
    source, copy = f"{disk.mem}/{array_id}", None
    file = open_locked(source, SHARED)
    if file is None:
        return False
    fd, pid = file.fileno(), os.getpid()
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not is_id(array_id):
            return False
        copy = f"{shelf.staging()}/{array_id}{COPY}"
        out = shelf.memory.reserve(copy, status.st_size)
        if out is None:
            return False
        _fill(out, fd, status, _into_memory)
        settle(shelf)
        with shelf.ledger.locked():
            # it was deleted meanwhile, or another process promoted it; or this is a signal handler, as in `spill`
            if not is_at(source, fd) or os.path.lexists(f"{shelf.mem}/{array_id}") or shelf.ledger.moving is not None:
                return False
            _same_marks(copy, fd)
            try:
                shelf.ledger.moving = array_id
                os.rename(copy, f"{shelf.mem}/{array_id}")
                shelf.ledger.moved()
                shelf.tally.add(PROMOTED)
                if pinned:  # first, so that no process spills it again before
                    os.chmod(f"{shelf.mem}/{array_id}", marked(os.fstat(fd).st_mode, add=PINNED))
                disk.release(array_id)
                _settled(shelf)
            except OSError:
                if not os.path.lexists(f"{shelf.mem}/{array_id}"):
                    _settled(shelf)
                    raise
                return True  # then it is in both tiers: readers take the one in memory, and `settle` mends it
            except BaseException:  # an interrupt
                _back(shelf, disk, array_id)
                raise
        return True
    finally:
        file.close()
        if copy is not None and pid == os.getpid():  # else the parent goes on with it
            _discard(shelf, copy)
            disk.pool.trim()


def _same_marks(copy: str, fd: int) -> None:
    """The array may have been touched, or marked, while it was copied. Needs the ledger's lock."""
    original = os.fstat(fd)
    os.utime(copy, ns=(os.stat(copy).st_atime_ns, original.st_mtime_ns))
    os.chmod(copy, marked(original.st_mode))


def _fill(file: FileIO, fd: int, status: os.stat_result, copy: Callable[[int, int, int], None]) -> None:
    """Have a whole segment copied, and the times of its put and its last read; close `file`."""
    out = file.fileno()
    try:
        copy(out, fd, status.st_size)
        give_back_tail(out, status.st_size)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        fcntl.flock(out, fcntl.LOCK_UN)  # else a child that is being forked would keep it locked
        file.close()  # NFS says only here that it has no room


def _into_memory(out: int, fd: int, size: int) -> None:
    if not _read(out, fd, size):
        ask_for_huge_pages(out, size)
        _copy(out, fd, size)


def _read(out: int, fd: int, size: int) -> bool:
    """Read a segment from disk into new memory by several threads; False if one is to copy it."""
    count = threads(size)
    if count < (_WORTH_IT_HUGE if huge.given(out, size) else _WORTH_IT):
        return False
    try:
        fresh = Fresh(out, size)
        copying = Copying(functools.partial(_read_piece, fd, fresh))
        try:
            copying.run(fresh.pieces(), count)
        finally:
            copying.wait()  # a second interrupt may have ended the first wait, and the memory goes to others soon
    except NotAllocated:  # the copy says why
        return False
    return True


def _read_piece(fd: int, fresh: Fresh, begin: int, end: int) -> None:
    with fresh.window(begin, end) as window:
        while begin < end:
            count = os.preadv(fd, [window[begin - end :]], begin)
            if not count:
                raise _too_short()
            begin += count


def _too_short() -> OSError:
    return OSError(errno.EIO, "a segment is shorter than it was")


def _copy(out: int, fd: int, size: int) -> None:
    done = 0
    while done < size:
        step = min(_STEP, size - done)
        try:
            # 1.7-3.0 GB/s from /dev/shm to disk; read and write 0.5-2.2, mapped and written 1.6-1.9 (256 MiB, same run)
            count = os.sendfile(out, fd, done, step)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSOCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            data = os.pread(fd, step, done)  # this system has no sendfile between files
            write_all(out, [data], done)
            count = len(data)
        if not count:
            raise _too_short()
        done += count


def _discard(shelf: Shelf, copy: str) -> None:
    """Remove a copy that was never renamed."""
    with contextlib.suppress(OSError):
        shelf.delete_draft(copy)
