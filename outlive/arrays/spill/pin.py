"""Pinning a sealed array: from then on it is in memory and stays there. Its file's mode says so, whoever dies."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from outlive.arrays.full import full
from outlive.arrays.layout import PINNED, marked
from outlive.arrays.spill.move import promote
from outlive.arrays.spill.room import make_room
from outlive.arrays.spill.waiting import Wait

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_ATTEMPTS = 100  # to bring it back at once: others may take the room that was made


def pin(shelf: Shelf, info: ArrayInfo) -> None:
    """Keep an array in memory from now on. One on disk is brought back first, and others are spilled for it.

    Raises
    ------
    ArrayNotFound
    StoreFull
        Memory has no room for it, and what else is there is pinned or looked at. It stays on disk.
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
            raise shelf.explain(error, info.size) from None
        raise full(shelf, info.size, "memory, to pin it there")


def unpin(shelf: Shelf, info: ArrayInfo) -> None:
    """Let an array be spilled again, like any other.

    Raises
    ------
    ArrayNotFound
    """
    _mark(shelf, info, remove=PINNED)


def _mark(shelf: Shelf, info: ArrayInfo, *, add: int = 0, remove: int = 0) -> bool:
    """Change the marks of an array's file, if that is in memory; False if it is on disk.

    Raises
    ------
    ArrayNotFound
        It is in neither.
    """
    path = f"{shelf.mem}/{info.id}"
    with shelf.ledger.locked():  # nobody spills, deletes or recycles it now
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):  # a planted link would be followed
                os.chmod(path, marked(mode, add=add, remove=remove))
                return True
        except FileNotFoundError:
            if shelf.has(info.id):
                return False
        raise shelf.not_found(info)
