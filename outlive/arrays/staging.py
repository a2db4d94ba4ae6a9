"""Staging: the folders where drafts are written. A folder that can be locked has lost its writer."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from collections.abc import Iterator
from io import FileIO

from outlive.arrays.layout import FOLDER_MODE, PRIVATE
from outlive.arrays.lock import no_fork
from outlive.arrays.remains import Remains
from outlive.arrays.root import names_in


class Staging:
    """A process's own folder in new/. Its lock says that the process lives; a forked child does not have it."""

    def __init__(self, new: str) -> None:
        self.pid, self._fd = os.getpid(), list[int]()
        while True:
            self.path = f"{new}/{os.urandom(8).hex()}"
            os.mkdir(self.path, FOLDER_MODE)
            # Between these steps the keeper may take the folder for a dead writer's, and a forked child would keep its
            # lock.
            with no_fork(), contextlib.suppress(FileNotFoundError, BlockingIOError):
                self._fd = [os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)]
                _locked.update(self._fd)
                # It closes with its shelf. A program that opens many shelves would else keep a descriptor for each.
                self._remains = Remains(self, functools.partial(_leave, self.path, self._fd))
                fcntl.flock(self._fd[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(self.path).st_ino == os.fstat(self._fd[0]).st_ino:
                    return
            _close(self._fd)

    def close(self) -> None:
        """Release the folder's lock."""
        _close(self._fd)
        self._remains.settled()


_locked: set[int] = set()  # the descriptors of this process's folders


def _leave(path: str, fd: list[int]) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)  # a folder with a draft stays: the keeper will find it
    _close(fd)


def _close(fd: list[int]) -> None:
    with no_fork():
        while fd:  # only once: its number may soon belong to another file
            number = fd.pop()
            _locked.discard(number)
            os.close(number)


def _leave_parents_locks() -> None:
    for fd in _locked:  # else a child that outlives its parent would make the keeper think that the parent lives
        with contextlib.suppress(OSError):
            os.close(fd)
    _locked.clear()


os.register_at_fork(after_in_child=_leave_parents_locks)


CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def new_file(path: str, size: int) -> FileIO:
    """Make a file of this size, all zeros that take no room yet. A failure leaves no file."""
    file = FileIO(path, "r+", opener=_created)
    try:
        os.ftruncate(file.fileno(), size)
    except OSError:
        file.close()
        os.unlink(path)
        raise
    return file


def _created(path: str, _: int) -> int:
    return os.open(path, CREATE, PRIVATE)


def orphans(new: str) -> Iterator[str]:
    """The folders in `new` whose writer died. Each stays locked until the loop goes on."""
    for name in names_in(new):
        path = f"{new}/{name}"
        fd = list[int]()
        try:
            with no_fork():  # else a child that is forked in here would keep the lock
                fd = [os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)]
                _locked.update(fd)
        except OSError:
            continue
        try:
            fcntl.flock(fd[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        except BlockingIOError:
            continue
        finally:
            _close(fd)
