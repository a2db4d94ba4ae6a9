"""Recent arrays: the bytes of small arrays that this process has read in the last second.

It takes 20-30 us to open a file, and 1 us to find its bytes here. The reader checks by other means that the array is
still current: by its name's generation counter, or its file. After a second the file is opened again. That stamps it as
read (see `views`), and finds out if somebody removed or damaged it.
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
    root: np.ndarray[Any, Any]  # callers get only views of it
    since: float


class Recent:
    """Keeps up to `budget` bytes: by default `OUTLIVE_RECENT`, or else 4 MiB; 0 keeps nothing.

    There are two halves. When the newer one is full, it becomes the older one. Arrays of the older one that were not
    read since are then forgotten.

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
        """Keep an array that has just been read. It owns its bytes, and they cannot be changed."""
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
