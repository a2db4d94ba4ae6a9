"""Holds: arrays that somebody is about to read stay for a while when they are replaced.

Who reads several keys, or a key that is replaced again and again, first asks what they stand for, then maps or fetches
each array. By then the first may have been replaced and dropped. So the catalog holds them for the reader: what
replaced them is current at once, and only the old files go later.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from outlive.catalog.index import Replacement

SECONDS = 60.0  # for which a reader that does not come back is waited for


class Holds:
    """Those of all readers.

    Parameters
    ----------
    now
        Seconds that only go forward.
    first
        The number of the first hold. Of no two catalogs is it the same: a reader may release what the one before this
        held for it.
    """

    def __init__(self, now: Callable[[], float], first: int = 1) -> None:
        self._now, self._numbers = now, itertools.count(first)
        self._holds: dict[int, tuple[float, list[str]]] = {}  # until when, and which arrays
        self._readers: Counter[str] = Counter()
        self._put_off: defaultdict[str, list[Replacement]] = defaultdict(list)

    def begin(self, array_ids: Iterable[str]) -> int:
        """Hold these arrays; returns the number by which to `end` it."""
        ids, number = list(array_ids), next(self._numbers)
        self._holds[number] = self._now() + SECONDS, ids
        self._readers.update(ids)
        return number

    def end(self, number: int) -> list[Replacement]:
        """What was put off and may go on now. Nothing, if the hold has expired."""
        _, ids = self._holds.pop(number, (0.0, []))
        ready = []
        for array_id in ids:
            self._readers[array_id] -= 1
            if self._readers[array_id] == 0:
                del self._readers[array_id]
                ready += self._put_off.pop(array_id, [])
        return ready

    def put_off(self, replacement: Replacement) -> bool:
        """Whether what is to be dropped is held; if so, `replacement` goes on once it is not."""
        held = replacement.old.array_id in self._readers
        if held and replacement not in self._put_off[replacement.old.array_id]:
            self._put_off[replacement.old.array_id].append(replacement)
        return held

    def expire(self) -> list[Replacement]:
        """End those whose readers did not come back; what may go on now."""
        now = self._now()  # each lasts as long, so those that are over come first
        over = [number for number, _ in itertools.takewhile(lambda one: one[1][0] < now, self._holds.items())]
        return [replacement for number in over for replacement in self.end(number)]

    def __len__(self) -> int:
        return len(self._holds)
