"""The arrays of a shelf that are to end now. The keeper asks every second, so the cost depends on changes alone."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from outlive.arrays.changes import Changes
from outlive.arrays.ended import Why
from outlive.arrays.layout import LASTING, is_id, kind_of, number_of
from outlive.arrays.lifetimes import JOB, SCOPE, TTL, scope_is_over

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

_MOST_GONE = 1000  # deadlines of arrays that are gone that are kept, beyond the number of arrays

OverJobs = Callable[[set[int]], set[int]]  # returns which of these jobs have ended


class Endings:
    """Remembers the arrays of `shelf` that end by themselves, and looks at those that came or went. Thread-safe."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._changes = Changes(shelf.folders)
        self._lock = threading.Lock()
        self._jobs: dict[int, set[str]] = {}
        self._scopes: dict[int, set[str]] = {}
        self._mortal: set[str] = set()  # the arrays with a time to live
        # a heap of earliest times: `touch` may have moved the real one since
        self._deadlines: list[tuple[int, str]] = []

    def due(self, over_jobs: OverJobs, now: float | None = None) -> dict[Why, list[str]]:
        """The arrays that are to end, by reason."""
        with self._lock:
            self._look()
            jobs = set(self._jobs)
        over = over_jobs(jobs) if jobs else set()  # this asks another process
        with self._lock:
            return self._due(over, int((time.time() if now is None else now) * 1e9))

    def of_scope(self, number: int) -> list[str]:
        """The arrays that were put in a scope."""
        with self._lock:
            self._look()
            return list(self._scopes.get(number, ()))

    def _due(self, over: set[int], now: int) -> dict[Why, list[str]]:
        return {
            Why.JOB: [array_id for number in over for array_id in self._jobs.get(number, ())],
            Why.SCOPE: [
                array_id
                for number, array_ids in self._scopes.items()
                if scope_is_over(self._shelf.scopes, number)
                for array_id in array_ids
            ],
            Why.TTL: self._over_deadline(now),
        }

    def _look(self) -> None:
        changed = self._changes.take()
        if changed is None:
            present = {array_id for array_id in self._shelf.ids() if kind_of(array_id) != LASTING}
            for array_id in present.difference(self._remembered()):
                self._add(array_id)
            for array_id in self._remembered().difference(present):
                self._remove(array_id)
            return
        for array_id in {name for _, name in changed if is_id(name) and kind_of(name) != LASTING}:
            if self._shelf.has(array_id):
                self._add(array_id)
            else:
                self._remove(array_id)

    def _remembered(self) -> set[str]:
        return self._mortal.union(*self._jobs.values(), *self._scopes.values())

    def _add(self, array_id: str) -> None:
        kind, number = kind_of(array_id), number_of(array_id)
        if kind & JOB:
            self._jobs.setdefault(number, set()).add(array_id)
        if kind & SCOPE:
            self._scopes.setdefault(number, set()).add(array_id)
        if kind & TTL and array_id not in self._mortal:
            self._mortal.add(array_id)
            heapq.heappush(self._deadlines, (0, array_id))

    def _remove(self, array_id: str) -> None:
        self._mortal.discard(array_id)
        number = number_of(array_id)
        for groups in (self._jobs, self._scopes):
            if number in groups:
                groups[number].discard(array_id)
                if not groups[number]:
                    del groups[number]

    def _over_deadline(self, now: int) -> list[str]:
        if len(self._deadlines) > 2 * len(self._mortal) + _MOST_GONE:  # else one stays until it is over, maybe for days
            self._deadlines = [one for one in self._deadlines if one[1] in self._mortal]
            heapq.heapify(self._deadlines)
        over, again = [], []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, array_id = heapq.heappop(self._deadlines)
            if array_id not in self._mortal:
                continue
            try:
                with self._shelf.ledger.locked():  # under the lock, as `touch` is
                    deadline = self._shelf.somewhere(array_id, os.stat).st_mtime_ns
            except FileNotFoundError:
                self._mortal.discard(array_id)
                continue
            again.append((deadline, array_id))
            if deadline <= now:
                over.append(array_id)  # it is returned again until it is gone
        for one in again:
            heapq.heappush(self._deadlines, one)
        return over
