"""An owned file: an open file whose `flock` is this process's alone.

A forked child shares its parent's open files, and the kernel keeps a `flock` until the last copy of the open file is
closed. So a child would keep what its parent locked, for as long as it lives. It closes its copies at once instead.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from contextlib import AbstractContextManager
from typing import Any

_owned: set[OwnedFile] = set()
_changing = threading.RLock()  # a fork waits for it: in between, a file is open that its object does not show


class OwnedFile:
    """The file `path`, open for reading and writing. A forked child has it closed.

    It unlocks nothing by itself, as that would end the parent's lock too; closing ends the lock of who closes.

    Parameters
    ----------
    flags
        More flags of `open(2)`, as `os.O_CREAT`.
    """

    def __init__(self, path: str, flags: int = 0) -> None:
        def opened(name: str, _: int) -> int:
            return os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)

        with _changing:
            # `FileIO` closes in one C call, which no signal handler can split: the descriptor is neither lost nor
            # closed twice.
            self._file = io.FileIO(path, "r+", opener=opened)
            _owned.add(self)

    def fileno(self) -> int:
        """The descriptor, for `fcntl.flock`. `ValueError` once it is closed, as in a forked child."""
        return self._file.fileno()

    def close(self) -> None:
        """Let go of the file and its lock. Harmless to repeat."""
        with _changing:
            self._file.close()
            _owned.discard(self)


def no_fork() -> AbstractContextManager[Any]:
    """No other thread forks in this block: `with no_fork(): ...`. Short ones only."""
    return _changing


def _go_on_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # a signal handler that raised ended the wait before the fork
        _changing.release()


def _close_in_child() -> None:
    global _changing
    _changing = threading.RLock()
    for file in list(_owned):
        file.close()


def _wait_before_fork() -> None:
    _changing.acquire()


os.register_at_fork(before=_wait_before_fork, after_in_parent=_go_on_in_parent, after_in_child=_close_in_child)
