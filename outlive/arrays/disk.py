"""The disk: the folder that a shelf spills to. It has the shelf's shape, and is counted in the shelf's ledger.

It has drafts of arrays that go straight to disk, copies that are being made of arrays in memory (a copy back to memory
is made in the shelf's own folder), sealed arrays (the same files as in memory), and arrays that are still read although
they are deleted or back in memory.

The shelf's symbolic link `disk`, which is read and never followed, says which folder that is.

The file system of that folder may not be mounted, at times. Its mount point then is a folder of another file system,
most often of `/`, which must not be filled with arrays. So the folder has a file that says whose it is, and the ledger
has the number of its device. If both are missing, nothing is made there and nothing is spilled. If only the file is
missing, somebody has cleared the disk, and the folder is made again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from io import FileIO
from typing import TYPE_CHECKING

from outlive.arrays.layout import DISK, FREE, MEM, NEW, NEXT, PRIVATE, REMOVED, SHELF, disk_of
from outlive.arrays.limits import NO_ROOM, existing
from outlive.arrays.lock import Mutex
from outlive.arrays.removal import clear_removed, remove_tree
from outlive.arrays.root import names_in, private_folder
from outlive.arrays.staging import Staging
from outlive.arrays.tier import Tier

if TYPE_CHECKING:
    from outlive.arrays.ledger import Ledger

SETTING = "OUTLIVE_SPILL_TO"
NOT_MOUNTED = "the file system that it was made on is not mounted now"
_LARGEST = (1 << 63) - 1  # number that the ledger can hold


class Disk(Tier):
    """The folder `path` (created, mode 0700, unless its file system is not mounted), counted in `ledger`.

    Raises
    ------
    UnsafeRoot
        It is a link, belongs to another user, or is open to others.
    """

    def __init__(self, path: str, ledger: Ledger) -> None:
        self._on_disk = account = ledger.disk
        super().__init__(path, account, SETTING, make=is_mounted(path, account.device))
        self._ledger = ledger
        self._staging: Staging | None = None
        self._lock = Mutex()

    def staging(self) -> str:
        """This process's folder for drafts and copies.

        Raises
        ------
        FileNotFoundError
            Its file system is not mounted.
        """
        if not self.is_mounted():
            raise FileNotFoundError(errno.ENOENT, "its file system is not mounted", self.path)
        with self._lock.now:
            if not self._is_staged():
                self.make_again()
                made = Staging(self.new)
                if not self._is_staged():  # a signal handler may have made one
                    self._staging = made
            assert self._staging is not None
            return self._staging.path

    def _is_staged(self) -> bool:
        one = self._staging
        return one is not None and one.pid == os.getpid() and os.path.isdir(one.path)

    def make_again(self) -> None:
        """Make the folders again if the disk was cleared, unless the shelf was removed and its disk with it.

        Nothing is made while its file system is not mounted.
        """
        if not self._ledger.exists() or not self.is_mounted():
            return
        for folder in self.folders():
            private_folder(folder, SETTING)
        self.sign()
        if not self._ledger.exists():  # since we looked
            remove_empty(self.path)

    def reserve(self, path: str, size: int) -> FileIO | None:
        """Make a draft's file at its full size, if the budget has room."""
        return self.pool.make(path, size)

    def sign(self) -> None:
        """Write whose the folder is, and note its device: that of a network's file system changes with each mount."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(f"{self.path}/{SHELF}", flags, PRIVATE)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in {*NO_ROOM, errno.EROFS}:  # then its device alone tells
                raise
        else:
            os.close(fd)
        self._on_disk.device = device_of(self.path)

    def is_mounted(self) -> bool:
        """Whether its file system is there, and not another one below its mount point."""
        return is_mounted(self.path, self._on_disk.device)

    def is_away(self) -> bool:
        """Whether nothing is there of what was counted: its file system is not mounted now, or somebody cleared it."""
        return self.account.used > 0 and (self.is_empty() or not self.is_mounted())

    def is_empty(self) -> bool:
        """Whether it holds nothing, so that another folder may take its place."""
        writers = [f"{self.new}/{name}" for name in names_in(self.new)]
        writers = [path for path in writers if os.path.isdir(path) and not os.path.islink(path)]
        return not any(names_in(folder) for folder in (*writers, self.mem, self.pool.folder))


def device_of(path: str) -> int:
    """The number of the device that has the folder `path`, or would have it."""
    return os.stat(existing(path)).st_dev & _LARGEST


def is_mounted(path: str, device: int) -> bool:
    """Whether the file system is there on which a shelf has made the folder `path`. `device` is what it has noted."""
    return not device or os.path.lexists(f"{path}/{SHELF}") or device_of(path) == device


def choose(shelf: str, path: str) -> None:
    """Have a shelf spill to the folder `path`. The caller holds the ledger's lock."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{shelf}/{DISK}{NEXT}")  # left by a process that was killed here
    os.symlink(path, f"{shelf}/{DISK}{NEXT}")
    os.rename(f"{shelf}/{DISK}{NEXT}", f"{shelf}/{DISK}")


def remove(path: str) -> None:
    """Remove a folder that a shelf spilled to. It is renamed first, so that no process writes to it meanwhile."""
    clear_removed(*os.path.split(path))
    removed = f"{path}.{os.urandom(4).hex()}{REMOVED}"
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return
        os.rename(path, removed)
    except OSError:
        return
    remove_tree(removed)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))  # the cluster's, if this was its last node


def remove_empty(path: str) -> None:
    """Remove the folder of a removed shelf, if it is empty: a process that spilled may have made it again."""
    for folder in (f"{path}/{MEM}", f"{path}/{NEW}", f"{path}/{FREE}"):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    if names_in(path) == [SHELF]:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/{SHELF}")
    for folder in (path, os.path.dirname(path)):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove_of_cluster(folder: str) -> None:
    """Remove the folders on disk of all shelves in a cluster's folder, before that goes."""
    with contextlib.suppress(OSError):
        for node in os.listdir(folder):
            path = disk_of(f"{folder}/{node}")
            if path is not None:
                remove(path)
