"""Tiers: in which of the two a shelf's segments are, memory or disk, while others move them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from outlive.arrays import disk as disks
from outlive.arrays.count import Count
from outlive.arrays.disk import Disk
from outlive.arrays.layout import disk_of, is_id
from outlive.arrays.ledger import Ledger
from outlive.arrays.removal import clear_removed
from outlive.arrays.root import names_in
from outlive.arrays.tier import Tier

_T = TypeVar("_T")
_ATTEMPTS = 3  # attempts to count while others write: the kernel's queue of changes may overflow


class Tiers:
    """Where the segments of the shelf in the folder `path` are: in memory, and on its disk if it has one."""

    def __init__(self, path: str, ledger: Ledger) -> None:
        self._path, self._ledger = path, ledger
        self.memory = Tier(path, ledger)
        self._disk: Disk | None = None
        self._disks: dict[str, Disk] = {}  # by path, one object each, because drafts may be under way there
        self._settings = -1  # the value of `ledger.settings` for which `_disk` holds

    @property
    def disk(self) -> Disk | None:
        """The folder that this shelf spills to, or has spilled to; None if none was ever chosen."""
        settings = self._ledger.settings
        if settings != self._settings:
            path = disk_of(self._path)
            if path is not None and path not in self._disks:
                self._disks.setdefault(path, Disk(path, self._ledger))  # several threads may be here
            self._disk = None if path is None else self._disks[path]
            self._settings = settings
        return self._disk

    def spill_to(self, path: str) -> None:
        """Spill to the folder `path` from now on. All processes follow. `ledger.disk.budget` says how much.

        Raises
        ------
        ValueError
            Arrays are spilled elsewhere.
        UnsafeRoot
            Others may enter the folder.
        """
        with self._ledger.locked():
            before = self.disk
            if before is not None and before.path == path:
                return
            if before is not None and before.is_away() and not before.is_mounted():
                raise ValueError(f"arrays are spilled to {before.path}, which is not mounted; mount it first")
            if before is not None and not before.is_empty():
                raise ValueError(f"arrays are spilled to {before.path}; to spill elsewhere, delete them first")
            clear_removed(*os.path.split(path))
            found = self._begin(path)
            disks.choose(self._path, path)
            self._ledger.settings_changed()
            if before is not None:
                disks.remove(before.path)
            if found:
                self.recount()
                self._ledger.raise_epoch()  # so that the catalog lists them

    def _begin(self, path: str) -> bool:
        """Make the folder `path` on disk; whether arrays are there already, which a removed shelf has left."""
        account = self._ledger.disk
        before, account.device = account.device, 0
        try:
            disk = Disk(path, self._ledger)
            disk.sign()
            return not disk.is_empty()
        except BaseException:
            account.device = before
            raise

    def spills(self) -> bool:
        """Whether there is a disk, mounted, and a budget for it."""
        disk = self.disk
        return disk is not None and self._ledger.disk.budget > 0 and disk.is_mounted()

    def somewhere(self, array_id: str, use: Callable[[str], _T]) -> _T:
        """The result of `use(path)` for an array's file, in memory or on disk, even while others move it.

        Raises
        ------
        FileNotFoundError
            It is in neither tier.
        """
        while True:
            moves = self._ledger.moves
            try:
                return use(f"{self.memory.mem}/{array_id}")
            except FileNotFoundError:
                pass
            disk = self.disk
            if disk is not None:
                with contextlib.suppress(FileNotFoundError):
                    return use(f"{disk.mem}/{array_id}")
            if self._ledger.moves == moves:  # else the array may have moved the other way between the two looks
                raise FileNotFoundError(array_id)

    def locate(self, array_id: str) -> str | None:
        """The path of a sealed array's file; None if there is none."""
        while True:
            moves = self._ledger.moves
            for tier in self.all():
                if os.access(f"{tier.mem}/{array_id}", os.F_OK):
                    return f"{tier.mem}/{array_id}"
            if self._ledger.moves == moves:
                return None

    def all(self) -> tuple[Tier, ...]:
        """Where segments may be: one or two."""
        disk = self.disk
        return (self.memory,) if disk is None else (self.memory, disk)

    def of(self, path: str) -> Tier | None:
        """The tier that the file at `path` is in; None if there is no disk (any more)."""
        return self.disk if self.is_on_disk(path) else self.memory

    def drafts(self, array_id: str) -> Iterator[str]:
        """Where a draft of this id may be."""
        for tier in self.all():
            for writer in names_in(tier.new):  # empty if the shelf is being removed
                if not os.path.islink(f"{tier.new}/{writer}"):  # a link is not ours
                    yield f"{tier.new}/{writer}/{array_id}"

    def has_draft(self, array_id: str) -> bool:
        """Whether there is a draft with this id."""
        return any(map(os.path.lexists, self.drafts(array_id)))

    def is_on_disk(self, path: str) -> bool:
        return not path.startswith(f"{self._path}/")

    def has(self, array_id: str) -> bool:
        return self.locate(array_id) is not None

    def ids(self) -> list[str]:
        """The ids of all sealed arrays, in memory and on disk (foreign files in the folders left out)."""
        for _ in range(3):
            moves = self._ledger.moves
            found = self._ids()
            if self._ledger.moves == moves:
                return found
        with self._ledger.locked():  # nothing moves now
            return self._ids()

    def _ids(self) -> list[str]:
        found = list(
            filter(is_id, os.listdir(self.memory.mem))
        )  # raises if the shelf was removed: that is not an empty shelf
        return found if self.disk is None else list(dict.fromkeys(found + self.spilled()))

    def spilled(self) -> list[str]:
        """The ids of those on disk."""
        disk = self.disk
        return [] if disk is None else list(filter(is_id, names_in(disk.mem)))

    def folders(self) -> tuple[str, ...]:
        """Where sealed arrays are."""
        return tuple(tier.mem for tier in self.all())

    def recount(self) -> int:
        """Set the ledger to the bytes that the files take. Returns by how much it was off, if other programs removed
        files.

        The files are counted while others write. Then the files that came or went meanwhile are counted again under the
        ledger's lock.
        """
        with contextlib.ExitStack() as at_the_end:
            for _ in range(_ATTEMPTS):
                counts = self._counts(at_the_end)
                if not all(count.ready for count in counts):
                    break  # the kernel does not tell what changes
                with self._ledger.locked():
                    is_whole = len(counts) == len(self.all())  # else a disk was chosen meanwhile
                    if is_whole and all(count.finish() for count in counts):
                        return self._set_used(counts)
            with self._ledger.locked():  # no file comes or goes
                counts = self._counts(at_the_end)
                for count in counts:
                    count.finish()
                return self._set_used(counts)

    def _counts(self, at_the_end: contextlib.ExitStack) -> list[Count]:
        return [at_the_end.enter_context(contextlib.closing(Count(tier))) for tier in self.all()]

    def _set_used(self, counts: list[Count]) -> int:
        used = [count.used for count in counts] + [0]
        off, self._ledger.used = self._ledger.used - used[0], used[0]
        if (disk := self.disk) is not None and not disk.is_mounted():  # its arrays come back with it
            return off
        off_on_disk, self._ledger.disk.used = self._ledger.disk.used - used[1], used[1]
        return off or off_on_disk
