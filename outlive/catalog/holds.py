"""Holds: an array that somebody is about to read stays for a while after it was replaced.

A reader of several keys, or of a key that is replaced again and again, first asks what they stand for, and then maps or
fetches each array. Meanwhile an array may be replaced and dropped. So the catalog holds the arrays for the reader: the
new array is current at once, and only the old files stay longer.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from outlive.catalog.index import Replacement

SECONDS = 60.0  # until a hold expires, if its reader does not come back


class Holds:
    """The holds of all readers.

    Parameters
    ----------
    now
        A clock: seconds that only go forward.
    first
        The number of the first hold. Each catalog starts with another: a reader may still release a hold of the
        catalog before.
    """

    def __init__(self, now: Callable[[], float], first: int = 1) -> None:
        self._now, self._numbers = now, itertools.count(first)
        self._holds: dict[int, tuple[float, list[str]]] = {}  # until when, and which arrays
        self._readers: Counter[str] = Counter()
        self._put_off: defaultdict[str, list[Replacement]] = defaultdict(list)

    def begin(self, array_ids: Iterable[str]) -> int:
        """Hold these arrays; returns the number of the hold, for `end`."""
        ids, number = list(array_ids), next(self._numbers)
        self._holds[number] = self._now() + SECONDS, ids
        self._readers.update(ids)
        return number

    def end(self, number: int) -> list[Replacement]:
        """End a hold; returns the replacements that may go on now. A hold that has expired ends with nothing."""
        _, ids = self._holds.pop(number, (0.0, []))
        ready = []
        for array_id in ids:
            self._readers[array_id] -= 1
            if self._readers[array_id] == 0:
                del self._readers[array_id]
                ready += self._put_off.pop(array_id, [])
        return ready

    def put_off(self, replacement: Replacement) -> bool:
        """Whether the old array is held. If so, `end` or `expire` returns the replacement later."""
        held = replacement.old.array_id in self._readers
        if held and replacement not in self._put_off[replacement.old.array_id]:
            self._put_off[replacement.old.array_id].append(replacement)
        return held

    def expire(self) -> list[Replacement]:
        """End the holds whose readers did not come back; returns the replacements that may go on now."""
        now = self._now()  # all holds last equally long, so those that are over come first
        over = [number for number, _ in itertools.takewhile(lambda one: one[1][0] < now, self._holds.items())]
        return [replacement for number in over for replacement in self.end(number)]

    def __len__(self) -> int:
        return len(self._holds)
