"""Pinning a sealed array: it is in memory from then on, and stays there. A bit of its file's mode says so."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from outlive.arrays.full import explain, full
from outlive.arrays.layout import PINNED, marked
from outlive.arrays.spill.move import promote
from outlive.arrays.spill.room import make_room
from outlive.arrays.spill.waiting import Wait

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_ATTEMPTS = 100  # attempts to bring it back: others may take the room that was made


def pin(shelf: Shelf, info: ArrayInfo) -> None:
    """Keep an array in memory from now on. One on disk is brought back first, and others are spilled for it.

    Raises
    ------
    ArrayNotFound
    StoreFull
        Memory has no room for it, and all other arrays there are pinned or in use. It stays on disk.
    """
    wait, overtaken = Wait(shelf), 0
    while True:
        if _mark(shelf, info, add=PINNED):
            return
        disk = shelf.disk
        try:
            if disk is not None and promote(shelf, disk, info.id, pinned=True):
                return
            if os.path.lexists(f"{shelf.mem}/{info.id}") or make_room(shelf, info.size):
                overtaken += 1
                if overtaken < _ATTEMPTS:
                    continue
            if wait.goes_on():
                continue
        except OSError as error:
            raise explain(shelf, error, info.size) from None
        raise full(shelf, info.size, "memory, to pin it there")


def unpin(shelf: Shelf, info: ArrayInfo) -> None:
    """Let an array be spilled again, like any other.

    Raises
    ------
    ArrayNotFound
    """
    _mark(shelf, info, remove=PINNED)


def _mark(shelf: Shelf, info: ArrayInfo, *, add: int = 0, remove: int = 0) -> bool:
    """Change the marks of an array's file in memory; False if the file is on disk.

    Raises
    ------
    ArrayNotFound
        It is in neither.
    """
    path = f"{shelf.mem}/{info.id}"
    with shelf.ledger.locked():  # under this lock it is not spilled, deleted or recycled
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):  # chmod would follow a link
                os.chmod(path, marked(mode, add=add, remove=remove))
                return True
        except FileNotFoundError:
            if shelf.has(info.id):
                return False
        raise shelf.not_found(info)
