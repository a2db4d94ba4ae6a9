"""A count of the bytes that a tier's segments take, made while others write. Only its end needs the ledger's lock."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from outlive.arrays.changes import Changes, File
from outlive.arrays.intent import counted
from outlive.arrays.layout import is_segment
from outlive.arrays.root import names_in

if TYPE_CHECKING:
    from outlive.arrays.tier import Tier


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
        self._sizes: dict[str, int] = {}  # by name: a draft that is sealed meanwhile moves from new/ to mem/
        if not self.ready:
            self._list_drafts()
        for folder in (tier.mem, tier.pool.folder):
            self._list(folder, self._sizes)

    def finish(self) -> bool:
        """Bring the count up to date; False if the changes are not known. The caller holds the ledger's lock."""
        changed: set[File] | None = set()
        if self.ready:
            self._list_drafts()  # read before the changes, because sealing a draft takes no lock
            changed = self._changes.take()
        if changed is None:
            return False
        for folder, name in changed:
            self._sizes.pop(name, None)
            if is_segment(name) and os.path.lexists(f"{folder}/{name}"):
                self._sizes[name] = counted(f"{folder}/{name}")
        self.used = sum(self._sizes.values()) + sum(
            size for name, size in self._drafts.items() if name not in self._sizes
        )
        return True

    def _list_drafts(self) -> None:
        self._drafts: dict[str, int] = {}
        for folder in _subfolders(self._tier.new):
            self._list(folder, self._drafts)

    def close(self) -> None:
        """Stop watching for changes. This takes the kernel some milliseconds, so hold no lock that others wait for."""
        self._changes.close()

    @staticmethod
    def _list(folder: str, sizes: dict[str, int]) -> None:
        with contextlib.suppress(FileNotFoundError):  # its writer has left, and its folder with it
            for entry in os.scandir(folder):
                if is_segment(entry.name):
                    sizes[entry.name] = counted(entry.path)


def _subfolders(new: str) -> list[str]:
    paths = (f"{new}/{name}" for name in names_in(new))
    return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]
