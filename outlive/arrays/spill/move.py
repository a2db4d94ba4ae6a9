"""Moving a sealed segment from memory to disk (spill), and back (promote). No reader waits for it.

The segment is copied under a reader's lock, so it is neither deleted nor written meanwhile. Then, in one step under the
ledger's lock, the copy is renamed into its mem/ and the original goes to the pool. So the array is in at least one tier
at every moment. A process that is killed leaves a copy under a name that is no array's, or the array in both tiers (see
`fsck.mend_doubles`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from io import FileIO
from typing import TYPE_CHECKING

from outlive.arrays.layout import COPY, PINNED, is_cached, is_pinned, marked
from outlive.arrays.lock import EXCLUSIVE, SHARED, is_at, open_locked, try_lock
from outlive.arrays.segment import COPY_BELOW, pages, write_all
from outlive.arrays.tail import give_back_tail
from outlive.arrays.tally import PROMOTED, SPILLED, SPILLED_BYTES

if TYPE_CHECKING:
    from outlive.arrays.disk import Disk
    from outlive.arrays.shelf import Shelf

_STEP = 16 << 20  # bytes that are copied at a time: an interrupt waits for that


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
        _fill(out, fd, status)
        with shelf.ledger.locked():
            if is_at(source, fd) and not is_pinned(os.fstat(fd).st_mode):  # else it was deleted or pinned meanwhile
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
    disk.release(array_id)  # left by a process that was killed between these steps; see `fsck.mend_doubles`
    _same_marks(copy, fd)
    try:
        os.rename(copy, target)
        shelf.ledger.moved()
        if size <= COPY_BELOW:  # small segments are read without a lock, so they are never emptied
            with shelf.ledger.counting(source, before=pages(size), after=0):
                os.unlink(source)
            return pages(size)
        # The lock is taken before the segment is in the pool, where another process may trim it first. A reader that is
        # refused meanwhile looks on disk.
        if not try_lock(fd, EXCLUSIVE):  # a process looks at it
            _back(shelf, disk, array_id)
            return 0
        shelf.pool.add(source, array_id, size, fd)
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
        if not stat.S_ISREG(status.st_mode):
            return False
        copy = f"{shelf.staging()}/{array_id}{COPY}"
        out = shelf.memory.reserve(copy, status.st_size)
        if out is None:
            return False
        _fill(out, fd, status)
        with shelf.ledger.locked():
            if not is_at(source, fd) or os.path.lexists(f"{shelf.mem}/{array_id}"):
                return False  # it was deleted meanwhile, or another process promoted it
            _same_marks(copy, fd)
            try:
                os.rename(copy, f"{shelf.mem}/{array_id}")
                shelf.ledger.moved()
                shelf.tally.add(PROMOTED)
                if pinned:  # first, so that no process spills it again before
                    os.chmod(f"{shelf.mem}/{array_id}", marked(os.fstat(fd).st_mode, add=PINNED))
                disk.release(array_id)
            except OSError:
                if not os.path.lexists(f"{shelf.mem}/{array_id}"):
                    raise
                return True  # then it is in both tiers: readers take the one in memory, and `check` mends it
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


def _fill(file: FileIO, fd: int, status: os.stat_result) -> None:
    """Copy a whole segment, and the times of its put and its last read; close `file`."""
    out = file.fileno()
    try:
        _copy(out, fd, status.st_size)
        give_back_tail(out, status.st_size)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        fcntl.flock(out, fcntl.LOCK_UN)  # else a child that is being forked would keep it locked
        file.close()  # NFS says only here that it has no room


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
            raise OSError(errno.EIO, "a segment is shorter than it was")
        done += count


def _discard(shelf: Shelf, copy: str) -> None:
    """Remove a copy that was never renamed."""
    with contextlib.suppress(OSError):
        shelf.delete_draft(copy)
