"""Beside Ray: a process that is not connected to a cluster reads what the shelves of this machine have.

It needs no Ray, keeper or catalog: a handle names an array by its id, and the file of that name is the array. It may
be of another version of outlive than the cluster: so it opens that file alone, and writes to none of the shelf's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from outlive.arrays.layout import MEM, disk_of
from outlive.arrays.root import check_private, default_root, names_in
from outlive.arrays.views import open_view
from outlive.local.place import is_local
from outlive.store import ray_in_use, session

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo


def view_beside(info: ArrayInfo, node: str | None) -> Any:
    """The array, if this process is not connected to a cluster and a shelf below the root has it; None otherwise.

    Raises
    ------
    CorruptArray, TooManyViews, UnsafeRoot
    """
    if is_local(node) or session.known() is not None or ray_in_use.is_connected():
        return None
    for shelf in _shelves(node):
        for folder in _tiers(shelf):
            path = f"{folder}/{MEM}/{info.id}"
            if os.path.lexists(path):
                with contextlib.suppress(FileNotFoundError):
                    check_private(folder)
                    return open_view(path, info)[1]
    return None


def _tiers(shelf: str) -> Iterator[str]:
    """Where an array of this shelf may be, memory twice: it may be brought back while we look on disk."""
    yield shelf
    disk = disk_of(shelf)
    if disk is not None:
        yield disk
        yield shelf


def _shelves(node: str | None) -> list[str]:
    """The shelves below the root; that of this node first."""
    root, _ = default_root()
    found = [f"{root}/{cluster}/{name}" for cluster in names_in(root) for name in _names_in(f"{root}/{cluster}")]
    return sorted(found, key=lambda path: os.path.basename(path) != node)


def _names_in(folder: str) -> list[str]:
    try:
        return names_in(folder)
    except OSError:  # another program's file
        return []
