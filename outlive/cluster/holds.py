"""Holds: arrays that somebody is about to read stay for a while when they are replaced.

Who reads several keys, or a key that is replaced again and again, first asks what they stand for, then maps or fetches
each array. By then the first may have been replaced and dropped. So the catalog holds them for the reader: what
replaced them is current at once, and only the old files go later.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from outlive.arrays.index import Replacement

SECONDS = 60.0  # for which a reader that does not come back is waited for


class Holds:
    """Those of all readers.

    Parameters
    ----------
    go_on
        Takes what was put off and may be dropped now.
    """

    def __init__(self, go_on: Callable[[Replacement], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._go_on, self._clock = go_on, clock
        # Of no two catalogs are they the same: a reader may release what the one before this held for it.
        self._lock, self._numbers = threading.Lock(), itertools.count(secrets.randbits(62))
        self._holds: dict[int, tuple[float, list[str]]] = {}  # until when, and which arrays
        self._readers: Counter[str] = Counter()
        self._put_off: defaultdict[str, list[Replacement]] = defaultdict(list)

    def begin(self, array_ids: Iterable[str]) -> int:
        """Hold these arrays; returns the number by which to `end` it."""
        ids = list(array_ids)
        with self._lock:
            number = next(self._numbers)
            self._holds[number] = self._clock() + SECONDS, ids
            self._readers.update(ids)
        return number

    def end(self, number: int) -> None:
        """Nothing, if it has expired."""
        with self._lock:
            ready = self._let_go(number)
        for replacement in ready:
            self._go_on(replacement)

    def _let_go(self, number: int) -> list[Replacement]:
        _, ids = self._holds.pop(number, (0.0, []))
        ready = []
        for array_id in ids:
            self._readers[array_id] -= 1
            if self._readers[array_id] == 0:
                del self._readers[array_id]
                ready += self._put_off.pop(array_id, [])
        return ready

    def put_off(self, array_id: str, replacement: Replacement) -> bool:
        """Whether an array is held; if so, `replacement` goes on once it is not."""
        with self._lock:
            held = self._readers[array_id] > 0 if array_id in self._readers else False
            if held and replacement not in self._put_off[array_id]:
                self._put_off[array_id].append(replacement)
            return held

    def expire(self) -> None:
        """End those whose readers did not come back."""
        with self._lock:
            over = [number for number, (until, _) in self._holds.items() if until < self._clock()]
        for number in over:
            self.end(number)
