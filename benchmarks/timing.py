"""Timing two sides against each other on a machine whose speed changes while they run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

RAY, OUTLIVE = "ray", "outlive"
Sides = dict[str, Callable[[], float]]  # each does one operation and returns the seconds that it took
Samples = dict[str, list[float]]


def alternate(sides: Sides, rounds: int, batch: int = 1, between: Callable[[], None] = lambda: None) -> Samples:
    """Let the sides take turns, `batch` operations at a time; which one begins alternates too.

    Batches, because an operation of microseconds right behind one of another library finds the processor's caches
    full of the latter: that would measure the neighbour. `between` runs, untimed, after every round.
    """
    samples: Samples = {name: [] for name in sides}
    orders = itertools.cycle((list(sides), list(sides)[::-1]))
    for order, _ in zip(orders, range(rounds), strict=False):
        for name in order:
            side, seconds = sides[name], samples[name]
            for _ in range(batch):
                seconds.append(side())
        between()
    return samples


def each(operation: Callable[[Any], Any], items: Iterator[Any], keep: MutableSequence[Any]) -> Callable[[], float]:
    """A side that does `operation` to the next item each time; what it returns is kept, so dropping it is not timed."""

    def side() -> float:
        item = next(items)
        begin = time.perf_counter()
        result = operation(item)
        seconds = time.perf_counter() - begin
        keep.append(result)
        return seconds

    return side


class Stopwatch:
    """`with stopwatch() as watch: ...` then `watch.seconds`."""

    seconds = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    watch, begin = Stopwatch(), time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - begin
