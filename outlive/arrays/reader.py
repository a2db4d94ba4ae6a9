"""Reading from a shelf, by `ArrayInfo` or by key: zero-copy, and without asking another process."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outlive.arrays.layout import PRIVATE
from outlive.arrays.live import live_view
from outlive.arrays.recent import Recent
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.tally import IN_MEMORY, ON_DISK, VIEWED
from outlive.arrays.views import open_private, open_view, unknown_to_live

if TYPE_CHECKING:
    import numpy as np

    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

    _ViewAt = Callable[..., tuple[ArrayInfo, np.ndarray[Any, Any]]]

_MARKS = 10_000  # arrays that a process remembers as marked hot
_MARK_AGAIN = 60.0  # seconds


class Reader:
    """Reads the arrays of `shelf`. Any number of threads may use it at once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._recent = Recent()
        self._tally = shelf.tally
        self._marked: dict[str, float] = {}  # the arrays that this process marked as hot, and when
        self._seen_on_disk: set[str] = set()  # the paths at which this process last found them

    def view(self, info: ArrayInfo) -> np.ndarray[Any, Any]:
        """A read-only view of a sealed array, zero-copy (small arrays: a copy).

        Raises
        ------
        ArrayNotFound, CorruptArray, TooManyViews
        """
        view = self.find(info)
        if view is None:
            raise self._shelf.not_found(info)
        return view

    def find(self, info: ArrayInfo) -> np.ndarray[Any, Any] | None:
        """The same as `view`; None if it is not here.

        Raises
        ------
        CorruptArray, TooManyViews
        """
        view: np.ndarray[Any, Any] | None = live_view(info.id)
        if view is not None:
            self._tally.viewed += 1
            return view
        recent = self._recent_of(info.id) if info.size <= COPY_BELOW else None
        if recent is not None:
            self._tally.viewed += 1
            return recent[1]
        try:
            return self._open(info.id, info)[1]
        except FileNotFoundError:
            return None

    def at_once(self, info: ArrayInfo, *, private: bool = False) -> np.ndarray[Any, Any] | None:
        """The same as `view` or `private`, if there is no live view; None if it takes more than one look at a file.

        Raises
        ------
        CorruptArray, TooManyViews
        """
        try:
            if info.size <= COPY_BELOW:
                recent = self._recent_of(info.id)
                if recent is None:
                    return self._open(info.id, info)[1]
                self._tally.viewed += 1
                return recent[1]
            if info.id in self._seen_on_disk:
                return None
            view = open_view(f"{self._shelf.mem}/{info.id}", info, private=private)[1]
        except FileNotFoundError:
            return None
        self._count(info.id)
        return view

    def private(self, info: ArrayInfo) -> np.ndarray[Any, Any]:
        """A writable view of a sealed array, for the caller alone: each page is copied when it is first written to.

        Small arrays are a writable copy.

        Raises
        ------
        ArrayNotFound, CorruptArray, TooManyViews
        """
        try:
            view = self._opened(info.id, info, open_private)[1]
        except FileNotFoundError:
            raise self._shelf.not_found(info) from None
        self._count(info.id)
        return view

    def named(self, store: str, key: str) -> np.ndarray[Any, Any] | None:
        """The view of a key's array, if its name on this shelf leads to it. None: ask the catalog.

        Raises
        ------
        CorruptArray, TooManyViews
        """
        shelf = self._shelf
        if shelf.ledger.batches:
            return None
        info = shelf.names.remembered(store, key)
        if info is not None:
            known = self._at_hand(info.id)
            if known is not None:  # it is the key's array now: the generation counter says so
                self._tally.viewed += 1
                return known
        found = shelf.names.look_up(store, key)
        if found is None:
            return None
        array_id, counter, generation = found
        try:
            recent = self._recent_of(array_id)
            self._tally.viewed += recent is not None
            info, view = recent or self._open(array_id, info if info is not None and info.id == array_id else None)
        except FileNotFoundError:
            return None
        if info.id != array_id or info.store != store or info.key != key:
            return None
        shelf.names.remember(info, counter, generation)
        return view

    def _at_hand(self, array_id: str) -> np.ndarray[Any, Any] | None:
        view: np.ndarray[Any, Any] | None = live_view(array_id)
        if view is None and (recent := self._recent.get(array_id)) is not None:
            return recent[1]
        return view

    def _recent_of(self, array_id: str) -> tuple[ArrayInfo, np.ndarray[Any, Any]] | None:
        """A recent array, if its file is there still, in memory."""
        recent = self._recent.get(array_id)
        return recent if recent is not None and os.access(f"{self._shelf.mem}/{array_id}", os.F_OK) else None

    def _open(self, array_id: str, info: ArrayInfo | None) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
        info, view = self._opened(array_id, info)
        self._count(array_id)
        if info.size <= COPY_BELOW:
            self._recent.add(info, unknown_to_live(info, view))
        return info, view

    def _count(self, array_id: str) -> None:
        """Count a read that opened a file, and those before that did not."""
        tally = self._tally
        viewed, tally.viewed = tally.viewed, 0
        tally.add(ON_DISK if array_id in self._seen_on_disk else IN_MEMORY)
        if viewed:
            tally.add(VIEWED, viewed)

    def _opened(
        self, array_id: str, info: ArrayInfo | None, view_at: _ViewAt | None = None
    ) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
        view_at = view_at or open_view
        if array_id not in self._seen_on_disk:  # else a look in memory would be in vain, and takes a while
            try:
                return view_at(f"{self._shelf.mem}/{array_id}", info)
            except FileNotFoundError:
                pass
        return self._opened_on_disk(array_id, info, view_at)

    def _opened_on_disk(
        self, array_id: str, info: ArrayInfo | None, view_at: _ViewAt
    ) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
        """An array that is not in memory, or was last found on disk."""
        shelf, again = self._shelf, self._read_again
        disk = shelf.disk
        if disk is None:
            self._seen_on_disk.clear()
            return view_at(f"{shelf.mem}/{array_id}", info)
        try:  # the same as `somewhere`, but faster: each read of a spilled array waits for it
            found = view_at(f"{disk.mem}/{array_id}", info, again)
        except FileNotFoundError:  # the array may have moved between the two looks
            self._seen_on_disk.discard(array_id)
            return shelf.somewhere(
                array_id, lambda path: view_at(path, info, again if shelf.tiers.is_on_disk(path) else None)
            )
        if len(self._seen_on_disk) >= _MARKS:
            self._seen_on_disk.clear()
        self._seen_on_disk.add(array_id)
        return found

    def _read_again(self, path: str) -> None:
        """Mark an array on disk that is read again soon after another read: the keeper may bring it back to memory."""
        array_id = os.path.basename(path)
        now = time.monotonic()
        if now - self._marked.get(array_id, -math.inf) >= _MARK_AGAIN:  # the keeper may have removed the mark since
            if len(self._marked) >= _MARKS:
                self._marked.clear()
            self._marked[array_id] = now
            with contextlib.suppress(OSError):
                os.close(os.open(f"{self._shelf.hot}/{array_id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
