"""The record of what `outlive tune --apply` changed, for `--undo`.

The record is in /run, which is emptied when the machine restarts. A restart undoes the changes too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from outlive.arrays.huge import kernel_setting
from outlive.arrays.limits import NO_ROOM
from outlive.arrays.lock import FileLock
from outlive.errors import StoreUnavailable, TuneRefused
from outlive.tune.mount import IN_MEMORY, mount_of, remount

RECORD = Path("/run/outlive-tune.json")
WANTED = "within_size"
_UNCHANGED = "so nothing was changed"


class Change(NamedTuple):
    """A change of when the files of a mount get huge pages."""

    folder: str
    device: int  # the file system's number; a later mount at the same folder has another
    before: str
    after: str


def apply(root: str, record: Path = RECORD) -> Change | None:
    """Have the mount of `root` give huge pages to files that fill them; None if it already does.

    Raises
    ------
    TuneRefused
        It is no tmpfs, the kernel has no huge pages or denies them, or this process is not allowed to.
    StoreUnavailable
        Another process changes it, and does not let go.
    """
    mount = mount_of(root)
    if mount.kind != IN_MEMORY:
        raise TuneRefused(f"{mount.folder} is no tmpfs but {mount.kind}: there is nothing to remount")
    if kernel_setting() in (None, "deny"):
        raise TuneRefused("this kernel gives no huge pages to shared memory: see `outlive tune`")
    if mount.huge in (WANTED, "always"):
        return None
    change = Change(mount.folder, os.stat(mount.folder).st_dev, mount.huge, WANTED)
    with _alone(record, _UNCHANGED):
        changes = _load(record)
        # The record is written first. If this process is killed before the change, `undo` skips that entry.
        _save(record, [*changes, change], _UNCHANGED)
        try:
            remount(change.folder, change.after)
        except TuneRefused:
            if not _stands(change):  # else mount(8) failed, or was too slow, after the kernel had done it
                with contextlib.suppress(TuneRefused):  # `undo` skips it if it stays
                    _save(record, changes, _UNCHANGED)
            raise
    return change


def undo(record: Path = RECORD) -> list[Change]:
    """Take back what `apply` changed, the last change first; returns these. A mount that was changed since stays.

    Raises
    ------
    TuneRefused
        This process is not allowed to. Changes that were not taken back stay in the record.
    StoreUnavailable
        As of `apply`.
    """
    undone: list[Change] = []
    if not os.path.lexists(record):
        return undone
    with _alone(record, "so nothing was taken back"):
        changes = _load(record)
        while changes:
            change = changes[-1]
            if _stands(change):
                remount(change.folder, change.before)
                undone.append(change)
            changes.pop()
            _save(record, changes, f"but {change.folder} is as it was")
    return undone


def _alone(record: Path, so: str) -> AbstractContextManager[Any]:
    """Hold the record's lock, so that no change of another process is lost. See `FileLock.take`."""
    try:
        return FileLock(f"{record}.lock").take()
    except StoreUnavailable:  # an OSError too
        raise
    except OSError as error:
        raise _unwritable(record, error, so) from None


def _stands(change: Change) -> bool:
    """Whether the mount is still as this change left it."""
    try:
        return os.stat(change.folder).st_dev == change.device and mount_of(change.folder).huge == change.after
    except OSError:
        return False


def _load(record: Path) -> list[Change]:
    try:
        fd = os.open(record, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TuneRefused(f"{record} cannot be read ({error.strerror})") from None
    with open(fd) as file:
        if os.fstat(fd).st_uid not in (0, os.geteuid()):
            raise TuneRefused(f"{record} belongs to another user; refused")
        try:
            return [Change(*fields) for fields in json.load(file)]
        except (ValueError, TypeError):
            raise TuneRefused(f"{record} is damaged; remove it, and restart the machine or remount by hand") from None


def _save(record: Path, changes: list[Change], so: str) -> None:
    """Replace the record in one step; without changes, remove it."""
    new = record.with_name(f"{record.name}.new")
    try:
        if not changes:
            with contextlib.suppress(FileNotFoundError):
                record.unlink()
            return
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(changes, file)
        new.rename(record)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise _unwritable(record, error, so) from None


def _unwritable(record: Path, error: OSError, so: str) -> TuneRefused:
    remedy = "make room there" if error.errno in NO_ROOM else f"make {record.parent} a folder that can be written to"
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = "run it as root"
    return TuneRefused(f"{record} cannot be written ({error.strerror}), {so}: {remedy}")
