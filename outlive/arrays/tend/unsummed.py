"""Arrays that have no checksum yet. The keeper sums them little by little, and looks only at new ones."""

from __future__ import annotations

import bisect
import os
import time
from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from outlive.arrays.changes import Changes
from outlive.arrays.layout import CHECKSUMS, is_id, short
from outlive.arrays.tend.checksums import Checksums, checksum_of

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

_AT_A_TIME = 1000  # checksums that are written together
_MOST_GONE = 1000  # records of arrays that are gone that are kept, beyond the number of arrays
_RECENT = 100_000  # ids that are kept unsorted
_STEP = 0.005  # seconds of work between two rests: Python's switch interval for threads
_REST = 9  # a rest is so many times as long as the work: a tenth of a core at most


def never() -> bool:
    return False


class Pace:
    """Works a little, then rests. `rest` waits for so many seconds.

    A thread of low priority would not do: on a busy machine it is stopped while it holds Python's global lock, and all
    threads of its process wait.
    """

    def __init__(self, rest: Callable[[float], object] = lambda _: None) -> None:
        self._rest, self._since = rest, time.monotonic()

    def step(self) -> None:
        """Called between two steps of the work. On a busy machine the steps take longer, and so do the rests."""
        worked = time.monotonic() - self._since
        if worked >= _STEP:
            self._rest(_REST * worked)
            self._since = time.monotonic()


class Known:
    """A set of array ids that takes 8 bytes for each: 64 of their random bits tell them apart."""

    def __init__(self, array_ids: Iterable[str]) -> None:
        self._sorted = array("Q", sorted(map(short, array_ids)))
        self._recent: set[int] = set()

    def add(self, array_id: str) -> None:
        self._recent.add(short(array_id))
        if len(self._recent) > _RECENT:
            self._sorted, self._recent = array("Q", sorted({*self._sorted, *self._recent})), set()

    def __contains__(self, array_id: str) -> bool:
        number = short(array_id)
        at = bisect.bisect_left(self._sorted, number)
        return number in self._recent or (at < len(self._sorted) and self._sorted[at] == number)


class Unsummed:
    """The arrays of `shelf` that have no checksum yet.

    Parameters
    ----------
    again
        `compute` is called more than once, so changes are watched. Ending a watch takes the kernel some milliseconds.
    """

    def __init__(self, shelf: Shelf, *, again: bool = True) -> None:
        self._shelf = shelf
        self._checksums = Checksums(f"{shelf.path}/{CHECKSUMS}")
        self._changes = Changes(shelf.folders) if again else None
        self._waiting: set[str] = set()
        self._known = Known(())
        self._gone = 0  # arrays that went since the records were last looked through

    def compute(
        self,
        *,
        older_than: float = 2.0,
        stop: Callable[[], bool] = never,
        rest: Callable[[float], object] = lambda _: None,
    ) -> int:
        """Record the checksums of arrays that are older than `older_than` seconds; returns how many.

        Records of arrays that are gone are dropped on the way.

        Parameters
        ----------
        rest
            Waits for so many seconds, between two steps of the work.
        """
        self._look()
        pace, count, found = Pace(rest), 0, dict[str, int]()
        for array_id in list(self._waiting):
            if stop():
                break
            checksum = self._checksum(array_id, older_than, pace)
            if checksum is not None:
                found[array_id] = checksum
                count += 1
            if len(found) >= _AT_A_TIME:
                self._record(found)
                found = {}
            pace.step()
        self._record(found)
        return count

    def _checksum(self, array_id: str, older_than: float, pace: Pace) -> int | None:
        try:
            status = self._shelf.somewhere(array_id, os.stat)
            # The first may lie in the future (`touch`), and both may if the time of day was set back.
            if 0 <= time.time() - min(status.st_mtime, status.st_ctime) <= older_than:
                return None
            return self._shelf.somewhere(array_id, lambda path: checksum_of(path, pace.step))
        except FileNotFoundError:
            self._waiting.discard(array_id)
        except OSError:  # it is being written, or cannot be read: try later
            pass
        return None

    def _record(self, found: dict[str, int]) -> None:
        self._checksums.append(found)
        self._waiting.difference_update(found)
        for array_id in found:
            self._known.add(array_id)

    def _look(self) -> None:
        changed = None if self._changes is None else self._changes.take()
        if changed is None or self._gone > max(_MOST_GONE, self._checksums.count() // 2):
            self._look_through()
            return
        for array_id in {name for _, name in changed if is_id(name)}:
            if not self._shelf.has(array_id):
                self._waiting.discard(array_id)
                self._gone += 1
            elif array_id not in self._known:  # else it moved to disk, or back
                self._waiting.add(array_id)

    def _look_through(self) -> None:
        known, present = self._checksums.load(), set(self._shelf.ids())
        if len(known) > 2 * len(present) + _MOST_GONE:
            self._checksums.replace({array_id: known[array_id] for array_id in present.intersection(known)})
        self._waiting, self._gone, self._known = present.difference(known), 0, Known(known)
