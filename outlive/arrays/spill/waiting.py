"""Waiting for room that other processes are about to give: a short wait instead of `StoreFull`.

A process may be freeing a deleted segment, whose lock it has. It may be spilling or promoting an array, of which there
are two copies then. The keeper may be reading an array, to sum or to send it. A writer gives up when it has seen none
of this for a while, or has waited long enough: the other process may be stopped.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from outlive.arrays.layout import COPY, KEEPER, is_cached, is_pinned
from outlive.arrays.lock import EXCLUSIVE, SHARED, open_locked
from outlive.arrays.root import names_in
from outlive.arrays.segment import pages
from outlive.arrays.spill.room import is_spilling, locks

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.arrays.tier import Tier

PATIENCE = 10.0  # seconds that are waited at most
_LOOKS = 5  # looks in a row that show nothing to wait for: a single one may come between two steps of another process
_PAUSE = 0.001  # seconds after the first look that shows nothing; doubled after each further one


class Wait:
    """A writer's wait for room on `shelf`. It begins when it is first asked."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._looks = 0
        self._until: float | None = None

    def goes_on(self) -> bool:
        """Pause, if there is something to wait for, and say whether to try again."""
        now = time.monotonic()
        self._until = now + PATIENCE if self._until is None else self._until
        self._looks = 0 if may_come(self._shelf) else self._looks + 1
        if self._looks >= _LOOKS or now >= self._until:
            return False
        time.sleep(_PAUSE * 2**self._looks)
        return True


def may_come(shelf: Shelf) -> bool:
    """Whether another process is doing something that may give room without a deletion."""
    tiers = shelf.tiers.all()
    return (
        is_spilling(shelf) or any(_is_copied_to(tier) or _is_freed_in(tier) for tier in tiers) or _keeper_reads(shelf)
    )


def _is_copied_to(tier: Tier) -> bool:
    """Whether a segment that is spilled or promoted is in both tiers now."""
    for writer in names_in(tier.new):
        path = f"{tier.new}/{writer}"
        if os.path.isdir(path) and not os.path.islink(path) and any(name.endswith(COPY) for name in names_in(path)):
            return True
    return False


def _is_freed_in(tier: Tier) -> bool:
    """Whether a segment in the pool is about to go: it is locked exclusively, or not at all."""
    for name in names_in(tier.pool.folder):
        path = f"{tier.pool.folder}/{name}"
        if _can_lock(path, EXCLUSIVE) or not _can_lock(path, SHARED):
            return True
    return False


def _can_lock(path: str, lock: int) -> bool:
    file = open_locked(path, lock)
    if file is not None:
        file.close()
    return file is not None


def _keeper_reads(shelf: Shelf) -> bool:
    """Whether an array that the keeper is reading could go once it is read: the keeper keeps no views."""
    try:
        own = os.stat(f"{shelf.path}/{KEEPER}")
    except FileNotFoundError:
        return False
    held = locks()
    keeper = held.get((own.st_dev, own.st_ino), set())
    inodes = {inode for (device, inode), pids in held.items() if device == own.st_dev and pids & keeper}
    if not keeper:
        return False
    return any(_could_go(shelf, entry) for entry in os.scandir(shelf.mem) if entry.inode() in inodes) or any(
        entry.inode() in inodes for entry in os.scandir(shelf.pool.folder)
    )


def _could_go(shelf: Shelf, entry: os.DirEntry[str]) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # it has gone
        return True
    if is_pinned(status.st_mode):
        return False
    return is_cached(status.st_mode) or (shelf.spills() and pages(status.st_size) <= shelf.ledger.disk.free)
