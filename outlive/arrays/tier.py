"""A tier: a folder that has sealed arrays, drafts and a pool. A shelf has one in memory, and one on disk if it spills.

A removal is counted in the same step, in the tier's account of the ledger.
"""

from __future__ import annotations

import errno
import os
import stat
from hashlib import blake2b
from io import FileIO
from typing import TYPE_CHECKING

from outlive.arrays.layout import COPY, FREE, MEM, NEW, PRIVATE
from outlive.arrays.pool import Pool
from outlive.arrays.removal import empty_if_unread
from outlive.arrays.root import private_folder
from outlive.arrays.segment import COPY_BELOW, pages
from outlive.arrays.warm import LEAST

if TYPE_CHECKING:
    from outlive.arrays.ledger import Account, Ledger

_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EPERM}  # or something planted there


class Tier:
    """The tier in the folder `path` (created, mode 0700), counted in `account`.

    Parameters
    ----------
    setting
        The setting that names another folder, for messages.
    make
        Whether folders that are missing are made, and those that are there looked at.

    Raises
    ------
    UnsafeRoot
        It is a link, belongs to another user, or is open to others.
    """

    def __init__(
        self, path: str, account: Ledger | Account, setting: str = "OUTLIVE_ROOT", *, make: bool = True
    ) -> None:
        self.path, self.account = path, account
        self.mem, self.new = f"{path}/{MEM}", f"{path}/{NEW}"
        self.pool = Pool(f"{path}/{FREE}", account)
        if make:
            for folder in self.folders():
                private_folder(folder, setting)

    def folders(self) -> tuple[str, ...]:
        """Its folders, the outermost first."""
        return self.path, self.mem, self.new, self.pool.folder

    def reserve(self, path: str, size: int) -> FileIO | None:
        """Make a draft's file at its full size, if the budget has room now. A recycled one has its exclusive lock."""
        found = self.pool.find(size)
        if found is not None:
            try:
                file = self.pool.take(found, size, path)
            finally:
                found.file.close()
            if file is not None:
                return file
        return self.pool.make(path, size)

    def release(self, array_id: str) -> bool:
        """Take a sealed array out of mem/; False if there is none. The caller holds the ledger's lock.

        Its bytes are free once nobody reads it; see `Pool.trim`. Small ones are read without a lock, and just unlinked.
        """
        path = f"{self.mem}/{array_id}"
        try:
            found = os.lstat(path)
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise
        if found.st_size <= COPY_BELOW or not stat.S_ISREG(found.st_mode):
            return self._unlink_counted(path)
        if stat.S_IMODE(found.st_mode) != PRIVATE:
            os.chmod(path, PRIVATE)  # the next writer finds no marks
        self.pool.add(path, array_id, found.st_size)
        return True

    def unlink(self, path: str) -> bool:
        """Remove a draft and give back its bytes; False if there is none.

        A call that was interrupted, or failed, may be repeated: it goes on with what was set aside.
        """
        with self.account.locked():
            aside = self._set_aside(path)
            if aside is None:
                return self._unlink_counted(path)
        try:
            empty_if_unread(aside)  # before the ledger is locked, because it takes a while
        finally:
            self._unlink_counted(aside)
        return True

    def _set_aside(self, path: str) -> str | None:
        """Rename a large draft so that no process can seal it while it is emptied; None if it keeps its name.

        A reader or the keeper seals a draft that the catalog lists, and a dead writer's call can reach the catalog
        late. The new name is that of a copy, which the keeper removes if this process dies. It is the same each time,
        so that a call that is repeated finds the file. The caller holds the ledger's lock.
        """
        folder, name = os.path.split(path)
        aside = f"{folder}/{blake2b(name.encode(), digest_size=16).hexdigest()}{COPY}"
        try:
            found = os.lstat(path)
            if found.st_size < LEAST or not stat.S_ISREG(found.st_mode):
                return None
            self.account.files_changed()
            os.rename(path, aside)
        except FileNotFoundError:
            return aside if os.path.lexists(aside) else None
        except OSError:  # the disk is too full for another name; the ledger is locked, so no process seals it now
            empty_if_unread(path)
            return None
        return aside

    def _unlink_counted(self, path: str) -> bool:
        with self.account.locked():
            try:
                with self.account.counting(path, before=pages(os.lstat(path).st_size), after=0):
                    os.unlink(path)
            except OSError as error:
                if error.errno in _NO_SUCH_FILE:
                    return False
                raise
        return True
