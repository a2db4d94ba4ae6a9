"""The message when an array does not fit: how much room there is of what, where, and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outlive.arrays.disk import NOT_MOUNTED
from outlive.arrays.limits import NO_ROOM, inodes, mount_of
from outlive.arrays.live import explained
from outlive.arrays.tally import REFUSED
from outlive.errors import StoreFull
from outlive.units import format_size

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf


def full(shelf: Shelf, asked: int, what: str, *, counts: bool = True) -> StoreFull:
    """The error for `asked` bytes that do not fit into `what`. It counts, unless its reader does without that copy."""
    if counts:
        shelf.tally.add(REFUSED)
    files = inodes(shelf.path)
    if files is not None and files.free == 0:
        return StoreFull(
            f"no room for one more array: the file system at {shelf.path} has no inodes left, of {files.all} in all, "
            "whatever it has of bytes. An array takes one, and its key another. Delete arrays (`outlive ls` shows "
            f"them), put many small ones as one, or allow more: mount -o remount,nr_inodes=... {mount_of(shelf.path)}"
        )
    used, budget = shelf.ledger.used, shelf.ledger.budget
    return StoreFull(
        f"no room for {format_size(asked)} ({asked} bytes) in {what}; {format_size(max(0, budget - used))} "
        f"of the budget of {format_size(budget)} are free, and {_free(shelf.path)}{_on_disk(shelf)}. Delete arrays "
        "(`outlive ls --long` shows them), or raise the budget: outlive.open(memory=..., disk=...)"
    )


def explain(shelf: Shelf, error: OSError, asked: int, *, counts: bool = True) -> Exception:
    """`StoreFull` for a system error that says that there is no room for `asked` bytes. See `live.explained` for
    others.
    """
    if error.errno not in NO_ROOM:
        return explained(error)
    return full(shelf, asked, f"the file system: {error.strerror}", counts=counts)


def _on_disk(shelf: Shelf) -> str:
    disk, account = shelf.disk, shelf.ledger.disk
    if disk is None or not account.budget:
        return ""
    if not disk.is_mounted():
        return f". Nothing is spilled to {disk.path}, as {NOT_MOUNTED}"
    return (
        f"; on disk {format_size(max(0, account.free))} of the budget of {format_size(account.budget)}, "
        f"and {_free(disk.path)}"
    )


def _free(path: str) -> str:
    try:
        system = os.statvfs(path)
        return f"{format_size(system.f_bavail * system.f_frsize)} of the file system at {path}"
    except OSError as error:
        return f"none of the file system at {path} ({error.strerror})"
