"""Removal: when a file goes, so does its memory, at once.

A writer may have a segment mapped that it wrote before (see `warm`). If such a file were just unlinked, its memory
would stay, in no ledger and in no listing. So a file is emptied before it is unlinked. It keeps its length: a process
that writes to a map of it by mistake is not killed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable
from typing import Any

from outlive.arrays.layout import REMOVED
from outlive.arrays.lock import EXCLUSIVE, open_locked
from outlive.arrays.warm import LEAST

_WHOLE_PAGE = 2 << 20  # bytes behind the end: a page, also a huge one, goes only as a whole
_PUNCH_HOLE, _KEEP_SIZE = 2, 1  # linux/falloc.h


@functools.cache
def _fallocate() -> Callable[..., int]:
    import ctypes  # the actors do not load it until something large is removed

    function: Any = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function  # type: ignore[no-any-return]


def empty(fd: int) -> None:
    """Free the memory of a segment. The caller has its exclusive lock. Its length stays, if the system allows that."""
    size = os.fstat(fd).st_size
    try:
        done = not size or _fallocate()(fd, _PUNCH_HOLE | _KEEP_SIZE, 0, size + _WHOLE_PAGE) == 0
    except (AttributeError, OSError):  # another system
        done = False
    if not done:
        os.ftruncate(fd, 0)


def empty_if_unread(path: str) -> None:
    """Free the memory of a segment that is about to be removed, if a writer may have it mapped and nobody reads it."""
    with contextlib.suppress(OSError):
        if os.lstat(path).st_size < LEAST:
            return
        file = open_locked(path, EXCLUSIVE)
        if file is not None:
            with file:
                empty(file.fileno())


def remove_tree(folder: str) -> None:
    """Remove a folder and all that is in it, and free the memory. A file that is still read keeps its memory until
    then.
    """
    for path, _, names in os.walk(folder):
        for name in names:
            empty_if_unread(f"{path}/{name}")
    shutil.rmtree(folder, ignore_errors=True)


def clear_removed(folder: str, of: str = "") -> bool:
    """Remove what unfinished removals have left in a folder, of what was named `of` or of all. Whether there was any.

    Harmless to repeat, and beside whoever removes it still.
    """
    found = list[str]()
    with contextlib.suppress(FileNotFoundError):
        found = [name for name in os.listdir(folder) if name.endswith(REMOVED) and name.startswith(of and f"{of}.")]
    for name in found:
        remove_tree(f"{folder}/{name}")
    return bool(found)
