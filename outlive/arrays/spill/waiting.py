"""Waiting for room that others are about to give: what stands in a writer's way for a moment is no reason to give up.

Somebody frees a deleted segment and has its lock, or spills or promotes an array and has both copies of it, or the
keeper reads one to sum or to send it. A writer gives up when it has seen nothing of that for a while, or when it has
waited long enough: a process may be stopped.
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
_LOOKS = 5  # in a row that show nothing to wait for: one alone may come between two steps of another process
_PAUSE = 0.001  # seconds after the first look that shows nothing; twice as many after each further one


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
    """Whether room may come without a deletion, by what another process does just now."""
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
    """Whether somebody has the exclusive lock of a segment in the pool, or nobody has any: it is about to go."""
    for name in names_in(tier.pool.folder):
        path = f"{tier.pool.folder}/{name}"
        if _can_lock(path, EXCLUSIVE) or not _can_lock(path, SHARED):
            return True
    return False


def _can_lock(path: str, lock: int) -> bool:
    fd = open_locked(path, lock)
    if fd is not None:
        os.close(fd)
    return fd is not None


def _keeper_reads(shelf: Shelf) -> bool:
    """Whether what the keeper reads just now could go as soon as it has done so: it keeps no views."""
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
