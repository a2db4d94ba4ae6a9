"""A count of the bytes that a tier's segments take, made while others write. Only its end needs the ledger's lock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.changes import Changes, File
from outlive.arrays.intent import counted
from outlive.arrays.layout import is_segment
from outlive.arrays.root import names_in

if TYPE_CHECKING:
    from outlive.arrays.tier import Tier


class _Counted(NamedTuple):
    """A segment's file."""

    inode: int
    size: int  # bytes, in whole pages


class Count:
    """Counts the files of `tier` as they are now. `finish` brings the count up to date.

    Attributes
    ----------
    ready
        Whether the kernel tells of changes since; else everything has to be counted under the lock.
    """

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._changes = Changes(lambda: (tier.mem, tier.pool.folder))
        self._changes.take()
        self.ready = self._changes.take() is not None
        self._files: dict[str, _Counted] = {}  # by name: in mem/ and free/
        if not self.ready:
            self._list_drafts()
        for folder in (tier.mem, tier.pool.folder):
            self._files |= {os.path.basename(path): one for path, one in _list(folder)}

    def finish(self) -> bool:
        """Bring the count up to date; False if the changes are not known. The caller holds the ledger's lock."""
        changed: set[File] | None = set()
        if self.ready:
            self._list_drafts()  # read before the changes, because sealing a draft takes no lock
            changed = self._changes.take()
        if changed is None:
            return False
        for folder, name in changed:
            self._files.pop(name, None)
            if is_segment(name):
                with contextlib.suppress(FileNotFoundError):
                    inode = os.lstat(f"{folder}/{name}").st_ino
                    self._files[name] = _Counted(inode, counted(f"{folder}/{name}"))
        # A draft that is sealed meanwhile moves from new/ to mem/. Its inode tells: several drafts may have one name.
        inodes = {one.inode for one in self._files.values()}
        drafts = {one.inode: one.size for one in self._drafts if one.inode not in inodes}
        self.used = sum(one.size for one in self._files.values()) + sum(drafts.values())
        return True

    def _list_drafts(self) -> None:
        self._drafts = [one for folder in _subfolders(self._tier.new) for _, one in _list(folder)]

    def close(self) -> None:
        """Stop watching for changes. This takes the kernel some milliseconds, so hold no lock that others wait for."""
        self._changes.close()


def _list(folder: str) -> Iterator[tuple[str, _Counted]]:
    """The segments in a folder, each with its path."""
    with contextlib.suppress(FileNotFoundError):  # its writer has left, and its folder with it
        for entry in os.scandir(folder):
            if is_segment(entry.name):
                yield entry.path, _Counted(entry.inode(), counted(entry.path))


def _subfolders(new: str) -> list[str]:
    paths = (f"{new}/{name}" for name in names_in(new))
    return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]
