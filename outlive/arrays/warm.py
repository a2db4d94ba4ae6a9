"""Warm maps: recycled segments that this process has written stay mapped in it.

To write one of them again is then a plain copy of memory: twice as fast as `write(2)`, which is 2-10 times as fast as
memory that has to be faulted in. A map holds no lock and no memory: readers come and go, and a process that frees the
segment empties it. Only the process that has its draft writes to it, holding the segment's exclusive lock.
"""

from __future__ import annotations

import collections
import mmap
import os

from outlive.arrays.lock import Mutex

POPULATED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
LEAST = 1 << 20  # bytes of a segment from which a map is faster than write(2)
_KEPT = 8  # maps in one process: each takes a descriptor and address space

_maps: collections.OrderedDict[tuple[int, int], mmap.mmap] = collections.OrderedDict()
_lock = Mutex()


def is_allocated(status: os.stat_result, size: int) -> bool:
    """Whether a file has memory for all of its bytes."""
    return status.st_blocks * 512 >= size


def writable_map(fd: int, size: int) -> mmap.mmap | None:
    """All of a segment, mapped, with its pages at hand; None if it is too small, or some of it has no memory yet.

    Memory that is missing would be a SIGBUS when written to, and is an error of `write(2)`. See `fresh`.
    """
    if size < LEAST or not is_allocated(status := os.fstat(fd), size):
        return None
    identity = status.st_dev, status.st_ino  # the kernel gives this number to no other file while it is mapped here
    with _lock.now:
        kept = _maps.pop(identity, None)
        if kept is None or len(kept) != size:
            try:
                kept = mmap.mmap(fd, size, flags=POPULATED)
            except (OSError, ValueError):
                return None
        _maps[identity] = kept
        while len(_maps) > _KEPT:
            _maps.popitem(last=False)  # it is dropped and not closed: another thread may be writing to it
        return kept


def mapped() -> list[int]:
    """The inodes of the segments that are mapped in this process. The one that was written last is the last."""
    with _lock.now:
        return [inode for _, inode in _maps]


def _after_fork() -> None:
    _maps.clear()


os.register_at_fork(after_in_child=_after_fork)
