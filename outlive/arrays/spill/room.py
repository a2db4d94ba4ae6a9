"""Room in memory: made by spilling the arrays that were read least recently. Arrays that are read often come back.

A put that needs room spills by itself and asks no actor. The keeper spills ahead of need, so that puts rarely have to.
One process spills at a time. The others wait until there is room, or until their turn.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.layout import SPILLING, is_cached, is_id, is_pinned
from outlive.arrays.limits import inodes, number_of_files
from outlive.arrays.lock import OwnedFile, try_lock
from outlive.arrays.marks import evict
from outlive.arrays.segment import pages
from outlive.arrays.spill.move import NoRoomOnDisk, promote, spill

if TYPE_CHECKING:
    from outlive.arrays.disk import Disk
    from outlive.arrays.shelf import Shelf

SPILL_ABOVE, SPILL_TO = 0.9, 0.8  # of the memory's budget: above this the keeper spills
PROMOTE_TO = 0.85  # of the memory's budget: the keeper promotes arrays up to this
COLD_AFTER = 10.0  # seconds: an array that was not read for so long may give way to one that is read often
_PORTIONS = 64  # of the memory's budget, spilled at a time, but at least one array
_SAMPLE = 20_000  # arrays that are looked at
_SHARE = 0.25  # of a file system's inodes: if the shelf's arrays take less, spilling them does not help
_LONGEST_TURN = 2.0  # seconds to wait for the turn
_TURN = 0.001  # seconds between two looks at the turn


class Candidate(NamedTuple):
    """A segment in memory that may be spilled, or evicted if it is a cached copy."""

    kept: bool
    last_read: int  # the last read, in nanoseconds since 1970, as `views` stamps it; the put, if it was never read
    array_id: str
    size: int


def candidates(shelf: Shelf, sample: int = _SAMPLE) -> list[Candidate]:
    """The sealed arrays in memory that are not pinned: cached copies first, then those read least recently.

    If there are more than `sample` arrays, a random sample of this size is looked at, and its coldest quarter is
    returned, because looking at a million takes seconds. These are among the coldest of all, if not the very coldest.

    Arrays that are mapped now are left out, because spilling them frees nothing. The list of locks is only a hint: it
    may lack those of other containers, or be missing. `move.spill` finds out for certain.
    """
    names = os.listdir(shelf.mem)
    sampled = len(names) > sample
    found, mapped, now = list[Candidate](), locks(), time.time_ns()
    for name in random.sample(names, sample) if sampled else names:
        with contextlib.suppress(OSError):
            status = os.lstat(f"{shelf.mem}/{name}")
            if is_id(name) and stat.S_ISREG(status.st_mode) and not is_pinned(status.st_mode):
                put_at = status.st_mtime_ns if status.st_mtime_ns <= now else 0  # else the time is a deadline
                if (status.st_dev, status.st_ino) not in mapped:
                    last_read = max(status.st_atime_ns, put_at)
                    kept = not is_cached(status.st_mode)
                    found.append(Candidate(kept, last_read, name, status.st_size))
    found.sort()
    return found[: max(1, len(found) // 4)] if sampled else found


def locks() -> dict[tuple[int, int], set[int]]:
    """The processes that have a lock (`flock`), by their files' device and inode numbers (proc_locks(5))."""
    found: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    try:
        with open("/proc/locks") as file:
            lines = [line.split()[-4:-2] for line in file if " FLOCK " in line]
        for process, identity in lines:
            major, minor, inode = identity.split(":")
            found[os.makedev(int(major, 16), int(minor, 16)), int(inode)].add(int(process))
    except (OSError, ValueError):
        return {}
    return found


def make_room(shelf: Shelf, size: int) -> bool:
    """Spill until a segment of `size` bytes fits into memory. False if it does not fit, whatever is spilled.

    The spilled segments are in the pool, where another process may take them first: the caller tries again.
    """
    needed, disk = pages(size), shelf.disk if shelf.spills() else None
    if not shelf.exists():  # another shelf may be at this path by now: no room is made in that
        raise FileNotFoundError(shelf.path)
    if needed > shelf.ledger.budget:
        return False
    patience = time.monotonic() + _LONGEST_TURN
    while not _has_room(shelf, needed):
        with _turn(shelf) as ours:
            # the process that spills may be stopped: a second one that spills does no harm
            if ours or time.monotonic() > patience:
                return _has_room(shelf, needed) or _spill(shelf, disk, _portion(shelf, needed)) > 0
        time.sleep(_TURN)
    return True


def _portion(shelf: Shelf, needed: int) -> int:
    """Bytes to spill at a time: finding candidates costs as much for one small array as for many."""
    return max(needed - shelf.ledger.free, shelf.ledger.budget // _PORTIONS)


def _has_room(shelf: Shelf, needed: int) -> bool:
    if shelf.ledger.free < needed:
        shelf.pool.trim(enough=needed - shelf.ledger.free)
    return shelf.ledger.free >= needed


def _spill(shelf: Shelf, disk: Disk | None, enough: int, read_before: float | None = None) -> int:
    """Evict cached copies and spill the coldest arrays until `enough` bytes are free; returns how many are.

    The caller has the turn.
    """
    freed, sample = 0, _SAMPLE
    while freed < enough:
        found = candidates(shelf, sample)
        some, tried_all = _spill_these(shelf, disk, found, enough - freed, read_before)
        freed += some
        if not some and tried_all and len(found) < sample < number_of_files(shelf.mem):
            sample = number_of_files(shelf.mem)  # none of these can go, but another one may
        elif not some or not tried_all:
            break
    return freed


def _spill_these(
    shelf: Shelf, disk: Disk | None, found: list[Candidate], enough: int, read_before: float | None
) -> tuple[int, bool]:
    """Bytes that were freed, and whether all of these were tried, so that others can be tried next."""
    freed = 0
    for one in found:
        if freed >= enough or (read_before is not None and one.last_read > read_before * 1e9):
            return freed, False
        if not one.kept:
            freed += pages(one.size) * evict(shelf, one.array_id)
            continue
        if disk is None:
            return freed, False
        if (lacking := pages(one.size) - disk.account.free) > 0 and lacking > disk.pool.used():
            continue  # a smaller array may still fit
        try:
            freed += spill(shelf, disk, one.array_id)
        except (NoRoomOnDisk, OSError):
            return freed, False
    return freed, True


@contextlib.contextmanager
def _turn(shelf: Shelf) -> Iterator[bool]:
    """Whether this process gets the turn to spill, until the block ends. If it dies, the kernel ends its turn."""
    file = OwnedFile(f"{shelf.path}/{SPILLING}", os.O_CREAT)
    try:
        yield try_lock(file)
    finally:
        file.close()


def is_spilling(shelf: Shelf) -> bool:
    """Whether a process spills right now."""
    with _turn(shelf) as ours:
        return not ours


# --- what the keeper does, once a second


def spill_ahead(shelf: Shelf) -> int:
    """Spill the coldest arrays if memory is nearly full, of bytes or of files; returns the bytes that this freed."""
    disk, budget = shelf.disk if shelf.spills() else None, shelf.ledger.budget
    excess = int(_in_use(shelf) - SPILL_TO * budget) if _in_use(shelf) > SPILL_ABOVE * budget else 0
    files = inodes(shelf.mem)
    scarce = files is not None and files.free < (1 - SPILL_ABOVE) * files.all
    if files is not None and scarce and number_of_files(shelf.mem) > _SHARE * files.all:
        excess = max(excess, shelf.ledger.budget // _PORTIONS)  # some arrays in each round, until it is enough
    if excess == 0:
        return 0
    with _turn(shelf) as ours:
        return _spill(shelf, disk, excess) if ours else 0


def promote_hot(shelf: Shelf) -> int:
    """Bring arrays that are marked as read often back to memory, if there is room or a cold array to spill; returns how
    many.

    Marks that cannot be followed are removed: further reads mark again.
    """
    disk, count = shelf.disk, 0
    if disk is None:
        return 0
    for array_id in os.listdir(shelf.hot):
        with contextlib.suppress(OSError):
            os.unlink(f"{shelf.hot}/{array_id}")
            needed = pages(os.lstat(f"{disk.mem}/{array_id}").st_size)
            missing = int(_in_use(shelf) + needed - PROMOTE_TO * shelf.ledger.budget)
            if missing > 0 and shelf.spills() and needed <= PROMOTE_TO * shelf.ledger.budget:
                with _turn(shelf) as ours:
                    missing -= _spill(shelf, disk, missing, time.time() - COLD_AFTER) if ours else 0
            if missing <= 0:
                count += promote(shelf, disk, array_id)
    return count


def _in_use(shelf: Shelf) -> int:
    """Bytes used in memory, without the pool's, which are free as soon as they are needed."""
    return shelf.ledger.used - shelf.pool.used()
