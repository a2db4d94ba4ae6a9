"""Recent arrays: the small ones that this process has read in the last second, bytes and all.

To open a file takes 20-30 us, to find its bytes here 1 us. Whether an array still is what was asked for, the reader
has to know from elsewhere: from its name's generation counter, or its file. After a second the file is opened all the
same, which stamps it as read (see `views`), and notices if somebody removed or damaged it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive.arrays.lock import Mutex
from outlive.units import parse_size

if TYPE_CHECKING:
    import numpy as np

    from outlive.arrays.info import ArrayInfo

SETTING = "OUTLIVE_RECENT"
_DEFAULT = 4 << 20  # bytes a process
_SECONDS = 1.0
_OBJECTS = 700  # bytes, about, of an array's objects in Python


class _Kept(NamedTuple):
    info: ArrayInfo
    root: np.ndarray[Any, Any]  # given to nobody: only views of it are
    since: float


class Recent:
    """Keeps up to `budget` bytes: by default 4 MiB, or what `OUTLIVE_RECENT` says; 0 keeps nothing.

    There are two halves. A full one becomes the older one, and what that held and nobody asked for since is gone.

    Raises
    ------
    BadSetting
        `OUTLIVE_RECENT` is no size.
    """

    def __init__(self, budget: int | None = None) -> None:
        if budget is None:
            budget = parse_size(os.environ.get(SETTING, _DEFAULT), SETTING, least=0)
        self._half = budget // 2
        self._new: dict[str, _Kept] = {}
        self._old: dict[str, _Kept] = {}
        self._bytes = 0  # of `_new`
        self._lock = Mutex()

    def get(self, array_id: str) -> tuple[ArrayInfo, np.ndarray[Any, Any]] | None:
        """The `ArrayInfo` of an array, and a view of its bytes; None if they are not here."""
        kept = self._new.get(array_id) or self._old.get(array_id)
        if kept is None or not 0 <= time.monotonic() - kept.since < _SECONDS:
            return None
        return kept.info, kept.root.view()

    def add(self, info: ArrayInfo, array: np.ndarray[Any, Any]) -> None:
        """Keep an array that has just been read. Nobody can change its bytes, which are its own."""
        size = info.size + _OBJECTS
        if size > self._half:
            return
        kept = _Kept(info, array, time.monotonic())
        with self._lock.now:
            if self._bytes + size > self._half:
                self._new, self._old, self._bytes = {}, self._new, 0
            if info.id not in self._new:
                self._bytes += size
            self._new[info.id] = kept
