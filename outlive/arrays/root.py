"""Where segments live: a private folder in shared memory, or on disk where there is none."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from outlive.arrays.layout import FOLDER_MODE
from outlive.arrays.limits import memory_limit
from outlive.errors import UnsafeRoot
from outlive.units import parse_size

SHARED_MEMORY = "/dev/shm"
LEAST_SHARED_MEMORY = 512 << 20  # Docker gives 64 MiB unless told otherwise: too little to be meant for arrays


def default_root() -> tuple[str, str | None]:
    """The path of the root folder, and the reason if it is on disk.

    `OUTLIVE_ROOT` names another; set it where Ray starts, so that all processes of a node agree. Every process of a
    node computes the same path.
    """
    if chosen := os.environ.get("OUTLIVE_ROOT"):
        return os.path.abspath(chosen), None
    folder = f"outlive-{os.geteuid()}"
    try:
        shared = os.statvfs(SHARED_MEMORY)
    except OSError:
        reason = f"this system has no {SHARED_MEMORY}"
    else:
        room = shared.f_blocks * shared.f_frsize
        if room < LEAST_SHARED_MEMORY:
            reason = f"{SHARED_MEMORY} has only {room >> 20} MiB (for Docker: --shm-size=8g)"
        elif not os.access(SHARED_MEMORY, os.W_OK):
            reason = f"this user may not write to {SHARED_MEMORY} (chmod 1777 lets all users)"
        else:
            return f"{SHARED_MEMORY}/{folder}", None
    return os.path.join(tempfile.gettempdir(), folder), reason


def private_folder(path: str, setting: str = "OUTLIVE_ROOT") -> str:
    """Create `path` (mode 0700) if need be, and make sure that only this user can enter it.

    Parameters
    ----------
    setting
        The setting that names another folder, for the message.

    Raises
    ------
    UnsafeRoot
        It is a link, belongs to another user, or is open to group or others.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        _make_parents(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):  # another process made it meanwhile: check it as well
            os.mkdir(path, FOLDER_MODE)
            return path
        found = os.lstat(path)
    _check(found, path, setting)
    return path


def check_private(path: str) -> None:
    """Make sure that only this user can enter the folder `path`. Raises UnsafeRoot, and FileNotFoundError."""
    _check(os.lstat(path), path, "OUTLIVE_ROOT")


def _check(found: os.stat_result, path: str, setting: str) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeRoot(f"{path} is not a folder (a link is refused too); remove it, or set {setting}")
    if found.st_uid != os.geteuid():
        raise UnsafeRoot(f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()}); set {setting}")
    if found.st_mode & 0o077:
        raise UnsafeRoot(f"{path} is open to others (mode {found.st_mode & 0o777:o}); run: chmod 700 {path}")


def _make_parents(path: str) -> None:
    """The same as `os.makedirs`, but all folders get `mode`, and not only the last."""
    if path and not os.path.isdir(path):
        _make_parents(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, FOLDER_MODE)


def names_in(folder: str) -> list[str]:
    """The names in a folder; none if it is missing: systemd-tmpfiles, for example, clears folders on disk."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def shelf_folder(root: str, cluster: str, node: str, setting: str = "OUTLIVE_ROOT") -> str:
    """The path of a node's shelf (or of its disk), all folders above it made and private.

    Raises
    ------
    UnsafeRoot
    """
    private_folder(root, setting)
    return f"{private_folder(f'{root}/{cluster}', setting)}/{node}"


def default_budget(path: str) -> int:
    """Bytes that a shelf at `path` may hold unless told otherwise.

    30 % of the memory that this process may use (`limits.memory_limit`), but at most 40 % of the file system: Ray's own
    object store takes 30 % of memory in the same /dev/shm, which is half of memory on most systems.
    `OUTLIVE_MEMORY` names another, as in "8GiB".
    """
    if chosen := os.environ.get("OUTLIVE_MEMORY"):
        return parse_size(chosen, "OUTLIVE_MEMORY")
    memory = memory_limit()
    system = os.statvfs(path)
    return min(memory * 3 // 10, system.f_blocks * system.f_frsize * 4 // 10)
