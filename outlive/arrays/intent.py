"""The intent: the files that are about to change, written into the ledger before they do.

Files, and the sum of their bytes, cannot change in one step. So the ledger first gets the names of the files that will
change, and the sum of all others. A process that gets the ledger's lock and finds an intent knows that the last holder
died there. It adds the bytes that the named files take now: then the sum is right, whether the change was made or not.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from types import TracebackType

from outlive.arrays.layout import below_shelf, disk_of, size_in_pool
from outlive.arrays.segment import pages

NUMBER = struct.Struct("@q")  # copied as a whole, so that readers without a lock never see half of a number
_NONE = 0
_BODY = struct.Struct("@qHH")  # bytes of all other files; lengths of the two names
_LONGEST = 360  # bytes of two names: the longest, of a copy, has 58
SIZE = NUMBER.size + _BODY.size + _LONGEST


class Intent:
    """The intent at `offset` of a mapped ledger.

    Parameters
    ----------
    shelf
        The shelf's folder.
    sums
        The offsets of the two sums: of the shelf's files, and of the files on its disk.
    """

    def __init__(self, page: mmap.mmap, offset: int, shelf: str, sums: tuple[int, int]) -> None:
        self._page, self._offset, self._shelf, self._sums = page, offset, shelf, sums
        self._body = offset + NUMBER.size
        self._names = self._body + _BODY.size
        self.under_way = False  # in this process, which has the lock then
        self._nested = 0  # changes that were made during another one
        self._sum_of_change = _NONE  # where the sum is that the other one changes
        self._files_of_change: tuple[bytes, ...] = ()  # the page has these names only once that one stands
        self.is_passed = False  # whether one of these has changed the files of the other one

    def take_up(self) -> None:
        """Take up the change of a holder that died or was interrupted, before the lock counts as held.

        So what a signal handler changes before `mend` has returned counts as a change of other files.
        """
        self.under_way = False
        if self.stands:
            self._sum_of_change = NUMBER.unpack_from(self._page, self._offset)[0]
            self._files_of_change = self._named()
            self.under_way = True

    def mend(self) -> None:
        """Complete that change. The caller has just got the lock."""
        if self.stands:
            self.complete()
        self.under_way = False

    def begin(self, sum_at: int, paths: tuple[str, ...], before: int) -> None:
        """Say that the files at `paths`, which take `before` bytes now, are about to change."""
        first, second = _name(paths[0]), b"" if len(paths) == 1 else _name(paths[1])
        if len(first) + len(second) > _LONGEST:
            raise FileNotFoundError(errno.ENOENT, "not a file of a shelf", paths[0])
        self._sum_of_change, self._files_of_change = sum_at, (first, second)
        self.is_passed = False
        self.under_way = True
        while True:
            nested = self._nested
            if self.is_passed:
                before = sum(map(counted, paths))
            (used,) = NUMBER.unpack_from(self._page, sum_at)
            _BODY.pack_into(self._page, self._body, used - before, len(first), len(second))
            if nested == self._nested:
                break
        self._page[self._names : self._names + len(first) + len(second)] = first + second
        NUMBER.pack_into(self._page, self._offset, sum_at)  # last: from here on the rest counts

    def end(self, sum_at: int, after: int) -> None:
        """Say that the files have changed, and take `after` bytes now."""
        while True:
            nested = self._nested
            NUMBER.pack_into(self._page, sum_at, _BODY.unpack_from(self._page, self._body)[0] + after)
            if nested == self._nested:
                break
        NUMBER.pack_into(self._page, self._offset, _NONE)
        self.under_way = False

    def change_others(self, sum_at: int, paths: tuple[str, ...], by: int) -> None:
        """Count a change of other files during this one: Python may run a finalizer or signal handler at any point.

        An interrupt may have ended this one as it began. If its files are changed then, they count as they are.
        """
        NUMBER.pack_into(self._page, sum_at, NUMBER.unpack_from(self._page, sum_at)[0] + by)
        if sum_at == self._sum_of_change and self._names_all(paths):
            self.is_passed = True
        elif sum_at == self._sum_of_change:
            others, first, second = _BODY.unpack_from(self._page, self._body)
            _BODY.pack_into(self._page, self._body, others + by, first, second)
        self._nested += 1

    @property
    def stands(self) -> bool:
        """Whether there is one."""
        return bool(NUMBER.unpack_from(self._page, self._offset)[0])

    def complete(self) -> None:
        """Count the bytes that the files of the intent take now. The caller holds the lock."""
        sum_at = NUMBER.unpack_from(self._page, self._offset)[0]
        if sum_at in self._sums:
            folder = self._shelf if sum_at == self._sums[0] else _disk_of(self._shelf)
            self.end(sum_at, sum(counted(f"{folder}/{os.fsdecode(name)}") for name in set(self._named())))
        else:
            NUMBER.pack_into(self._page, self._offset, _NONE)  # the page is damaged: `check` recounts

    def _named(self) -> tuple[bytes, ...]:
        _, first, second = _BODY.unpack_from(self._page, self._body)
        text = self._page[self._names : self._names + first + second]
        return tuple(name for name in (text[:first], text[first:]) if name)

    def _names_all(self, paths: tuple[str, ...]) -> bool:
        return set(self._files_of_change).issuperset(map(_name, paths))


class Counting:
    """`with account.counting(...)`: files and the sum of their bytes change together, even if the process is killed."""

    __slots__ = ("_after", "_before", "_intent", "_is_nested", "_paths", "_pid", "_sum_at")

    def __init__(self, intent: Intent, sum_at: int, paths: tuple[str, ...], before: int, after: int) -> None:
        self._intent, self._sum_at = intent, sum_at
        self._paths, self._before, self._after = paths, before, after

    def __enter__(self) -> None:
        self._is_nested, self._pid = self._intent.under_way, os.getpid()
        if not self._is_nested:
            self._intent.begin(self._sum_at, self._paths, self._before)

    def __exit__(self, error: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._pid != os.getpid():  # a child that was forked in here leaves the change to its parent
            return
        if self._is_nested:
            after = self._after if error is None else sum(map(counted, self._paths))
            self._intent.change_others(self._sum_at, self._paths, after - self._before)
        elif error is None and not self._intent.is_passed:
            self._intent.end(self._sum_at, self._after)
        else:  # the files tell how far it came
            self._intent.complete()


def counted(path: str) -> int:
    """Bytes that a segment counts: whole pages of its size, or of the size in its name if it is in the pool."""
    try:
        found = os.lstat(path).st_size
    except OSError:
        return 0
    emptied = size_in_pool(os.path.basename(path))  # segments in the pool are emptied first, then unlinked
    return pages(found if emptied is None else emptied)


def _name(path: str) -> bytes:
    """The name of a file below the shelf's or the disk's folder."""
    return os.fsencode(below_shelf(path))


def _disk_of(shelf: str) -> str:
    return disk_of(shelf) or shelf
