"""The pool: deleted segments. A segment without readers is written again while its pages are warm.

A reader holds a shared lock on the segment that it looks at, so a process that gets the exclusive lock is alone with
it. A segment that is still read stays in the pool, and in the budget, until its last reader is gone: that memory is in
use.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays import warm
from outlive.arrays.layout import PRIVATE, in_pool, size_in_pool
from outlive.arrays.lock import EXCLUSIVE, OwnedFile, open_locked, open_owned
from outlive.arrays.removal import empty, empty_if_unread
from outlive.arrays.segment import pages, void
from outlive.arrays.staging import new_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outlive.arrays.ledger import Account, Ledger

LEAST = 256 << 10  # bytes: smaller segments are not searched for
_LOOKED_AT, _TRIED = 256, 8  # segments that a put looks at


class Deleted(NamedTuple):
    """A segment in the pool."""

    size: int  # bytes of its file
    path: str


class Recyclable(NamedTuple):
    """A segment in the pool that nobody reads. Its exclusive lock is held."""

    one: Deleted
    file: OwnedFile  # holds its exclusive lock


class Pool:
    """The pool in `folder`. Its segments count as used until they are gone."""

    def __init__(self, folder: str, ledger: Ledger | Account) -> None:
        self.folder, self._ledger = folder, ledger
        self._seen: dict[Deleted, float] = {}  # when a caller of `trim` first saw each

    def add(self, path: str, array_id: str, size: int, locked: int | None = None) -> None:
        """Delete a segment by moving it to the pool. The caller holds the ledger's lock.

        Parameters
        ----------
        locked
            Its descriptor, if the caller has its exclusive lock.
        """
        one = Deleted(size, f"{self.folder}/{in_pool(size, array_id)}")
        if os.path.lexists(one.path):  # the same array was moved before, and a reader still looks at that file
            one = Deleted(size, f"{self.folder}/{in_pool(size, os.urandom(16).hex())}")
        self._ledger.files_changed()
        try:
            os.rename(path, one.path)
        except FileNotFoundError:
            raise
        except OSError:  # a disk can be too full for one more name; deleting has to work all the same
            with self._ledger.counting(path, before=pages(size), after=0):
                if locked is None:
                    empty_if_unread(path)
                os.unlink(path)
            if locked is not None:  # last: an array that is spilled is never in memory without its bytes
                empty(locked)
            return
        if size >= LEAST:
            return
        if locked is None:
            self._free(one)
        else:
            self._empty(one, locked)

    def find(self, size: int) -> Recyclable | None:
        """Find a segment of about `size` bytes that nobody reads, and lock it; None if none is at hand.

        Only some segments of the pool are tried. Missing one costs a new file, and nothing else. This needs no lock of
        the ledger.
        """
        if size < LEAST:
            return None
        for one in self._worth_trying(size):
            file = open_owned(one.path)
            if file is not None:
                try:
                    void(file.fileno())
                except BaseException:
                    file.close()
                    raise
                return Recyclable(one, file)
        return None

    def _worth_trying(self, size: int) -> list[Deleted]:
        """Some segments of about `size` bytes, the best one first.

        Of those that have the very size, the ones that this process wrote last are the best: they are mapped here, and
        in the processor's cache.
        """
        some = list(itertools.islice(self._entries(), _LOOKED_AT))
        if like_it := [entry for found, entry in some if found == size]:
            mapped = {inode: place for place, inode in enumerate(warm.mapped())}
            like_it.sort(key=lambda entry: mapped.get(entry.inode(), -1), reverse=True)
            return [Deleted(size, entry.path) for entry in like_it[:_TRIED]]
        near = sorted(
            (abs(found - size), Deleted(found, entry.path)) for found, entry in some if size <= 2 * found <= 4 * size
        )
        return [one for _, one in near[:_TRIED]]

    def take(self, found: Recyclable, size: int, path: str) -> FileIO | None:
        """Move a segment that was found to `path`, make it `size` bytes long, and count these bytes.

        Returns the file, open once more; None if the budget has no room. Its exclusive lock lasts until both are closed
        or dropped, or one is unlocked. The caller closes what was found.
        """
        one, fd = found.one, found.file.fileno()
        os.fchmod(fd, PRIVATE)  # the marks of the deleted array do not hold for the next one
        os.utime(fd)
        if size < one.size:
            os.ftruncate(fd, size)  # freeing takes a while: before the ledger is locked
        with self._ledger.locked():
            if pages(size) - pages(one.size) > self._ledger.free:
                return None
            with self._ledger.counting(one.path, path, before=pages(one.size), after=pages(size)):
                os.rename(one.path, path)
                try:
                    os.ftruncate(fd, size)
                except OSError:  # no room to make it longer
                    os.unlink(path)
                    raise
            # C code does both steps, so no interrupt comes between them: the number alone would keep the lock for ever
            [file] = map(FileIO, map(os.dup, [fd]), ["r+"])
            return file

    def make(self, path: str, size: int) -> FileIO | None:
        """A new file of `size` bytes at `path`, counted, if the budget has room or the pool can give it; else None.

        Segments in the pool are freed without the ledger's lock, because that takes a while.
        """
        while True:
            with self._ledger.locked():
                missing = pages(size) - self._ledger.free
                if missing <= 0:
                    with self._ledger.counting(path, before=0, after=pages(size)):
                        return new_file(path, size)
            if self.trim(enough=missing) == 0:
                return None

    def trim(self, older_than: float = 0.0, enough: int | None = None, refusals: int | None = None) -> int:
        """Free the memory of segments that nobody reads; returns how many bytes that were.

        Parameters
        ----------
        older_than
            Seconds since this object first saw them here. The time of their deletion is not used: that clock can be
            set.
        enough
            Bytes after which to stop.
        refusals
            Give up after so many segments that are still read. The others are tried the next time.
        """
        freed, refused = 0, 0
        segments = self._deleted_before(older_than) if older_than else list(self.segments())
        if refusals is not None:
            random.shuffle(segments)
        for one in segments:
            some = self._free(one)
            freed += some
            refused += not some
            if (enough is not None and freed >= enough) or (refusals is not None and refused >= refusals):
                break
        return freed

    def _deleted_before(self, seconds: float) -> list[Deleted]:
        now = time.monotonic()
        self._seen = {one: self._seen.get(one, now) for one in self.segments()}
        return [one for one, since in self._seen.items() if now - since >= seconds]

    def _free(self, one: Deleted) -> int:
        """Give the memory of a segment back, unless somebody reads it; returns how many bytes that were."""
        file = open_locked(one.path, EXCLUSIVE)
        if file is None:
            return 0
        with file:
            self._empty(one, file.fileno())
        return pages(one.size)

    def _empty(self, one: Deleted, fd: int) -> None:
        # A writer may have it mapped still, so unlinking does not free it. Emptying takes a while, so the ledger is
        # locked later.
        empty(fd)
        with self._ledger.locked(), self._ledger.counting(one.path, before=pages(one.size), after=0):
            os.unlink(one.path)

    def used(self) -> int:
        """Bytes of all segments in the pool."""
        return sum(pages(one.size) for one in self.segments())

    def segments(self) -> Iterator[Deleted]:
        """The segments in the pool. There are none if another program cleared the disk."""
        for size, entry in self._entries():
            yield Deleted(size, entry.path)

    def _entries(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """The size and the entry of each segment."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                size = size_in_pool(entry.name)
                if size is not None:
                    yield size, entry
