"""Which arrays of a shelf are to end now. Asked every second: while nothing changes, it costs next to nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from outlive.arrays.ended import Why
from outlive.arrays.lifetimes import JOB, SCOPE, TTL, kind_of, number_of, scope_is_over

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

OverJobs = Callable[[set[int]], set[int]]  # which of these jobs have ended


class Endings:
    """Remembers which arrays of `shelf` end by themselves, and looks again when the folder has changed."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._listed_at = 0
        self._jobs: dict[int, list[str]] = {}
        self._scopes: dict[int, list[str]] = {}
        self._deadlines: dict[str, int] = {}  # not before then: `touch` may have moved it since

    def due(self, over_jobs: OverJobs, now: float | None = None) -> dict[Why, list[str]]:
        """The arrays that are to end, by the reason why."""
        self._list()
        over = over_jobs(set(self._jobs)) if self._jobs else set()
        return {
            Why.JOB: [array_id for number in over for array_id in self._jobs[number]],
            Why.SCOPE: [
                array_id
                for number, array_ids in self._scopes.items()
                if scope_is_over(self._shelf.scopes, number)
                for array_id in array_ids
            ],
            Why.TTL: self._over_deadline(int((time.time() if now is None else now) * 1e9)),
        }

    def _list(self) -> None:
        disk = self._shelf.disk
        changed = max(os.stat(folder).st_mtime_ns for folder in (self._shelf.mem, *([disk.mem] if disk else [])))
        if changed == self._listed_at:
            return
        jobs, scopes, deadlines = defaultdict(list), defaultdict(list), dict[str, int]()
        for array_id in self._shelf.ids():
            if array_id[22:24] != "00":
                kind = kind_of(array_id)
                if kind & JOB:
                    jobs[number_of(array_id)].append(array_id)
                if kind & SCOPE:
                    scopes[number_of(array_id)].append(array_id)
                if kind & TTL:
                    deadlines[array_id] = self._deadlines.get(array_id, 0)
        self._jobs, self._scopes, self._deadlines = dict(jobs), dict(scopes), deadlines
        # A change in the same tick of the clock would not show: then look again.
        self._listed_at = changed if changed < time.time_ns() - 1_000_000_000 else 0

    def _over_deadline(self, now: int) -> list[str]:
        over = []
        for array_id, known in self._deadlines.items():
            if known <= now:
                with contextlib.suppress(FileNotFoundError), self._shelf.ledger.locked():  # as `touch` does
                    deadline = self._deadlines[array_id] = self._shelf.somewhere(array_id, os.stat).st_mtime_ns
                    if deadline <= now:
                        over.append(array_id)
        return over
