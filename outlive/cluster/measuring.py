"""Measuring: the values that a keeper and the catalog give to those who watch; see `outlive.metrics`."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from outlive.arrays import tally
from outlive.arrays.segment import pages
from outlive.arrays.spill.room import locks
from outlive.catalog.state import State
from outlive.metrics import table
from outlive.metrics.table import Metric, Value
from outlive.metrics.watch import Watch, periods

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.arrays.tier import Tier
    from outlive.cluster.driver import Driver

_VALIDATED = 10_000  # keys, at most, of a catalog that is checked as a whole: that takes 2 us a key
_VALIDATED_EVERY = 60.0  # seconds
_LONG = 0.02  # seconds of processor time, for a look at deleted segments. One of 10,000 takes 30 ms or more
_REST = 200  # times as long as such a look took, until the next: so they take 0.5 % of a processor at most
_TALLIED: tuple[tuple[Metric, int, dict[str, str]], ...] = (
    (table.PUTS, tally.PUTS, {}),
    (table.PUT_BYTES, tally.PUT_BYTES, {}),
    (table.PUTS_REFUSED, tally.REFUSED, {}),
    (table.GETS, tally.VIEWED, {"state": "open"}),
    (table.GETS, tally.IN_MEMORY, {"state": "memory"}),
    (table.GETS, tally.ON_DISK, {"state": "disk"}),
    (table.GET_MISSES, tally.MISSED, {}),
    (table.FETCHES, tally.COPIED, {}),
    (table.FETCHED_BYTES, tally.COPIED_BYTES, {}),
    (table.FALLBACKS, tally.FELL_BACK, {}),
    (table.SPILLS, tally.SPILLED, {}),
    (table.SPILLED_BYTES, tally.SPILLED_BYTES, {}),
    (table.PROMOTIONS, tally.PROMOTED, {}),
    (table.EVICTIONS, tally.EVICTED, {}),
    (table.RECYCLED, tally.RECYCLED, {}),
    (table.TRIMMED, tally.TRIMMED, {}),
    (table.SPARED, tally.SPARED, {}),
)
_log = logging.getLogger(__name__)


class ShelfMeasures:
    """The values of a shelf, which the keeper of `node` tells.

    Parameters
    ----------
    stats
        Returns the keeper's `ShelfStats`.
    """

    def __init__(self, shelf: Shelf, node: str, stats: Callable[[], Any], watch: Watch) -> None:
        self._shelf, self._node, self._stats, self._watch = shelf, node, stats, watch
        self._at = {"node": table.short(node)}
        self._growing, self._violated = _Growing(), Counter[str]()
        self._budget: int | None = None  # as it was when the shelf was last within it
        self._workers: list[Value] = []
        self._seen: tuple[_Deleted, _Deleted] | None = None
        self._look_again = 0.0  # by time.monotonic: not before

    def tell(self) -> None:
        """Give all values to those who watch. Takes less than a millisecond of processor time for most shelves."""
        self._watch.export(self.values())

    def look_at_workers(self) -> None:
        """Look at the node's workers. `tell` repeats what was seen until the next look."""
        self._workers = self._watch.workers(self._node) or []

    def values(self) -> Iterator[Value]:
        """All values."""
        stats, ledger = self._stats(), self._shelf.ledger
        in_memory, on_disk = self._deleted()
        pooled = in_memory.pool + in_memory.mapped
        yield from self._by_state(
            table.SHELF,
            memory=max(0, stats.used - pooled),
            disk=stats.disk_used,
            pool=in_memory.pool,
            mapped=in_memory.mapped,
        )
        yield from self._by_state(
            table.ARRAYS,
            memory=stats.arrays - stats.spilled,
            disk=stats.spilled,
            pool=in_memory.pool_files,
            mapped=in_memory.mapped_files + on_disk.mapped_files,
        )
        yield from self._by_state(table.BUDGET, memory=stats.budget, disk=stats.disk_budget)
        yield Value(table.KERNEL, stats.kernel_bytes, self._at)
        if stats.free_inodes is not None:
            yield Value(table.FREE_INODES, stats.free_inodes, self._at)
        grown = self._shelf.tally.take()
        for metric, number, labels in _TALLIED:
            yield Value(metric, grown[number], {**self._at, **labels})
        yield self._growing.of(table.SENT_BYTES, stats.sent_bytes, self._at)
        yield self._growing.of(table.REFUSED, stats.refused, {**self._at, "reason": "proof"})
        yield self._growing.of(table.REFUSED, stats.full, {**self._at, "reason": "full"})
        yield Value(table.THROUGH_RAY, len(stats.through_ray), self._at)
        self._look_for_violations(ledger.used, ledger.budget)
        for reason in ("budget", "sum"):
            yield Value(table.VIOLATED, self._violated[reason], {**self._at, "reason": reason})
        yield from self._workers

    def _deleted(self) -> tuple[_Deleted, _Deleted]:
        """The deleted segments of both tiers. A look that took long is repeated later, and its answer stays so long."""
        if self._seen is None or time.monotonic() >= self._look_again:
            began = time.thread_time()
            self._seen = _Deleted(self._shelf.memory), _Deleted(self._shelf.disk)
            took = time.thread_time() - began
            self._look_again = time.monotonic() + (took * _REST if took > _LONG else 0)
        return self._seen

    def _by_state(self, metric: Metric, **states: float) -> Iterator[Value]:
        for state, value in states.items():
            yield Value(metric, value, {**self._at, "state": state})

    def _look_for_violations(self, used: int, budget: int) -> None:
        """Count a shelf that has grown above its budget. One whose budget was lowered may be above it."""
        if used < 0:
            self._violated["sum"] += 1
        if used <= budget:
            self._budget = budget
        elif self._budget is not None and budget >= self._budget:
            self._violated["budget"] += 1
            self._budget = None  # once, until it is within its budget again
            _log.error("%s takes %d bytes, more than its budget of %d", self._shelf.path, used, budget)


class CatalogMeasures:
    """The values that the catalog tells of itself.

    Parameters
    ----------
    refusals
        See `Catalog.refusals`.
    """

    def __init__(self, driver: Driver, watch: Watch, refusals: Callable[[], tuple[int, int]]) -> None:
        self._driver, self._watch, self._refusals = driver, watch, refusals
        self._growing, self._contradictions, self._validated_at = _Growing(), 0, driver.peers.now()

    def tell(self) -> None:
        """Give all values to those who watch."""
        self._watch.export(self.values())

    def values(self) -> Iterator[Value]:
        """All values."""
        driver = self._driver
        for kind, timing in driver.timings.items():
            labels = {"kind": kind}
            yield self._growing.of(table.CALLS, timing.calls, labels)
            yield self._growing.of(table.CALL_SECONDS, timing.seconds, labels)
            yield Value(table.LONGEST_CALL, timing.take_longest(), labels)
        yield Value(table.CALLS_UNDER_WAY, sum(timing.under_way for timing in driver.timings.values()))
        state = driver.state
        yield Value(table.KEYS, len(state.index))
        yield Value(table.UNLISTED, len(state.unlisted | state.unheard))
        yield Value(table.REPLICAS_MISSING, state.index.copies.lacking)
        yield Value(table.LOST, len(state.index.lost))
        for reason, count in zip(("proof", "full"), self._refusals(), strict=True):
            yield self._growing.of(table.REFUSED, count, {"node": table.HEAD, "reason": reason})
        self._validate()
        for reason, count in (("replica", driver.violated), ("catalog", self._contradictions)):
            yield Value(table.VIOLATED, count, {"node": table.HEAD, "reason": reason})

    def _validate(self) -> None:
        """Check what the catalog knows now and then, if that does not hold up its callers."""
        now = self._driver.peers.now()
        if len(self._driver.state.index) > _VALIDATED or now < self._validated_at + _VALIDATED_EVERY:
            return
        self._validated_at = now
        try:
            self._driver.look(State.validate)
        except AssertionError as error:
            self._contradictions += 1
            _log.error("what the catalog knows contradicts itself, which is a bug of outlive: %s", error)


class _Deleted:
    """The deleted segments of a tier, by whether a process looks at them, as far as the kernel's list of locks says."""

    def __init__(self, tier: Tier | None) -> None:
        self.pool = self.mapped = self.pool_files = self.mapped_files = 0  # bytes in whole pages, and files
        held: dict[tuple[int, int], set[int]] | None = None
        for one in () if tier is None else tier.pool.segments():
            held = locks() if held is None else held
            size = pages(one.size)
            try:
                status = os.lstat(one.path)
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) in held:
                self.mapped, self.mapped_files = self.mapped + size, self.mapped_files + 1
            else:
                self.pool, self.pool_files = self.pool + size, self.pool_files + 1


class _Growing:
    """Numbers that only grow: by how much, since they were last told."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], float] = {}

    def of(self, metric: Metric, number: float, labels: dict[str, str]) -> Value:
        """The growth. A number that has become smaller has begun anew, as that of a server that was started again."""
        series = metric.name, *labels.values()
        before = self._told.get(series, 0)
        self._told[series] = number
        return Value(metric, number - before if number >= before else number, labels)


def works(tell: Callable[[], None], look: Callable[[], None] | None = None) -> dict[Callable[[], None], float]:
    """The work of measuring, and the seconds after which it is repeated. None of it, if the settings say so."""
    chosen = periods()
    found = {} if chosen.export is None else {tell: chosen.export}
    return found if chosen.workers is None or look is None else {**found, look: chosen.workers}
