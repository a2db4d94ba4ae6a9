"""Marks: bits in the mode of a segment's file that say how the array is kept.

They are on the file itself, so no crash loses them, and they move with it between memory and disk.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from outlive.arrays.layout import CACHED, COPIED, LEAVING, is_cached, is_copied, is_leaving, is_pinned, kind_of, marked
from outlive.arrays.lifetimes import TTL
from outlive.errors import CorruptArray

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf


def mark(shelf: Shelf, array_id: str, *, add: int = 0, remove: int = 0) -> bool:
    """Add and remove marks of a sealed array; False if it is not there."""
    with shelf.ledger.locked(), contextlib.suppress(FileNotFoundError):

        def change(path: str) -> None:
            os.chmod(path, marked(os.lstat(path).st_mode, add=add, remove=remove))

        shelf.somewhere(array_id, change)
        return True
    return False


def keep(shelf: Shelf, array_id: str) -> bool:
    """Make a cached copy a replica, which nothing evicts; False if the array is not here (any more)."""
    return mark(shelf, array_id, add=COPIED, remove=CACHED | LEAVING)


def drop_if_leaving(shelf: Shelf, array_id: str) -> bool:
    """Delete an array if it is still marked `LEAVING`; False if it is to be kept."""
    with shelf.ledger.locked():
        mode = mode_of(shelf, array_id)
        return mode == 0 or (is_leaving(mode) and shelf.delete(array_id))


def evict(shelf: Shelf, array_id: str) -> bool:
    """Delete an array if it is a cached copy, and not pinned.

    Its name leads nowhere from then on. A process may still look at the copy, but a node without a copy is not told of
    changes of the key. The name does not turn to an earlier array either, which may still be here.
    """
    with shelf.ledger.locked():
        mode = mode_of(shelf, array_id)
        if not is_cached(mode) or is_pinned(mode):
            return False
        with contextlib.suppress(FileNotFoundError, CorruptArray):
            info = shelf.info(array_id)
            if info.key is not None:
                _withdraw(shelf, info.store, info.key, array_id)
        return shelf.delete(array_id)


def _withdraw(shelf: Shelf, store: str, key: str, array_id: str) -> None:
    try:
        shelf.names.withdraw(store, key, array_id)
    except OSError:  # no room, not even for a name
        shelf.names.remove(store, key, array_id)


def is_only_here(shelf: Shelf, array_id: str) -> bool:
    """Whether an array is on this shelf, and on no other."""
    mode = mode_of(shelf, array_id)
    return mode != 0 and not (is_cached(mode) or is_copied(mode))


def cached(shelf: Shelf) -> set[str]:
    """The ids of the cached copies."""
    return {array_id for array_id in shelf.ids() if is_cached(mode_of(shelf, array_id))}


def mode_of(shelf: Shelf, array_id: str) -> int:
    """The mode of an array's file; 0 if there is none."""
    try:
        return shelf.somewhere(array_id, os.lstat).st_mode
    except FileNotFoundError:
        return 0


def deadline_of(shelf: Shelf, array_id: str) -> int:
    """The modification time of an array's file, in nanoseconds; 0 if there is none. If the array has a time to live, it
    is the end of that.
    """
    try:
        return shelf.somewhere(array_id, os.lstat).st_mtime_ns
    except FileNotFoundError:
        return 0


def times_of(shelf: Shelf, array_id: str) -> tuple[float, float | None, bool] | None:
    """The time of an array's last read, the end of its time to live if it has one, and whether it is on disk.

    None if it is not here. An array that was never read was last read when it was put.
    """
    try:
        path, found = shelf.somewhere(array_id, lambda path: (path, os.lstat(path)))
    except FileNotFoundError:
        return None
    ends_at = found.st_mtime if kind_of(array_id) & TTL else None
    return found.st_atime, ends_at, not path.startswith(f"{shelf.mem}/")
