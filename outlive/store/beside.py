"""Beside Ray: a process that is not connected to a cluster reads what the shelves of this machine have.

It needs no Ray, keeper or catalog: a handle names an array by its id, and the file of that name is the array.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from outlive.arrays.layout import MEM, disk_of
from outlive.arrays.reader import Reader
from outlive.arrays.root import default_root, names_in
from outlive.arrays.shelf import Shelf
from outlive.errors import ArrayNotFound
from outlive.local.place import is_local
from outlive.store import ray_in_use, session

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo

_known: dict[str, tuple[Shelf, Reader]] = {}  # by the shelf's path


def view_beside(info: ArrayInfo, node: str | None) -> Any:
    """The array, if this process is not connected to a cluster and a shelf below the root has it; None otherwise."""
    if is_local(node) or session.known() is not None or ray_in_use.is_connected():
        return None
    for path in _shelves(node):
        if _has(path, info.id):
            with contextlib.suppress(ArrayNotFound):
                return _reader(path).view(info)
    return None


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


def _has(path: str, array_id: str) -> bool:
    disk = disk_of(path)
    return any(os.path.exists(f"{one}/{MEM}/{array_id}") for one in (path, disk) if one is not None)


def _reader(path: str) -> Reader:
    known = _known.get(path)
    if known is None or not known[0].exists():
        shelf = Shelf(path)
        known = _known[path] = shelf, Reader(shelf)
    return known[1]
