"""Cached copies: how many bytes of a shelf they take. A replica may have these. Each new copy asks for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from outlive.arrays.changes import Changes
from outlive.arrays.layout import is_cached, is_id
from outlive.arrays.segment import pages, whole_pages

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf


class CachedCopies:
    """Remembers the cached copies of `shelf`, and looks at what came or went. Any thread may ask."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._changes = Changes(shelf.folders)
        self._sizes: dict[str, int] = {}
        self._sum = 0  # bytes of these copies
        self._lock = threading.Lock()

    def bytes(self) -> int:
        """The bytes that all take together, in whole pages. It is an estimate: a mark may change meanwhile."""
        with self._lock:
            changed = self._changes.take()
            if changed is None:
                self._sizes.clear()
                self._sum = 0
            for array_id in self._shelf.ids() if changed is None else {name for _, name in changed if is_id(name)}:
                self._look(array_id)
            return self._sum

    def room(self) -> int:
        """The bytes that one more replica may take, in memory or on disk. Cached copies count as room."""
        ledger = self._shelf.ledger
        in_memory, on_disk = ledger.free + self._shelf.pool.used(), max(0, ledger.disk.free)
        return whole_pages(in_memory) + whole_pages(on_disk) + self.bytes()

    def kept(self, array_ids: Iterable[str]) -> None:
        """Look again at these: they may have become replicas."""
        with self._lock:
            for array_id in array_ids:
                self._look(array_id)

    def _look(self, array_id: str) -> None:
        self._sum -= self._sizes.pop(array_id, 0)
        try:
            status = self._shelf.somewhere(array_id, os.lstat)
        except FileNotFoundError:
            return
        if is_cached(status.st_mode):
            self._sizes[array_id] = pages(status.st_size)
            self._sum += self._sizes[array_id]
