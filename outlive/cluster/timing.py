"""How many calls there were, and how long they took."""

from __future__ import annotations

import time


class Timing:
    """The calls of one kind. Any thread may use it; what two change at the same moment may be a little off."""

    def __init__(self) -> None:
        self.calls, self.under_way = 0, 0
        self.seconds = 0.0
        self._longest = 0.0

    def begin(self) -> float:
        """Note that a call begins; the moment, for `end`."""
        self.under_way += 1
        return time.perf_counter()

    def end(self, began: float) -> None:
        """Note that it has ended, however it did."""
        took = time.perf_counter() - began
        self.under_way -= 1
        self.calls += 1
        self.seconds += took
        self._longest = max(self._longest, took)

    def take_longest(self) -> float:
        """Seconds of the longest call since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest
