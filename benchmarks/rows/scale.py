"""The same operations with few and with very many arrays of 1 KiB on the shelf, and the keeper's share of a core."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil

import outlive
from benchmarks.cluster import GIB, MIB, cluster
from benchmarks.line import Line
from outlive.arrays.tend.checksums import Checksums

NAME = "scale"
ABOUT = "what an operation costs with 10,000 and with 100,000 arrays on a node (OUTLIVE_SCALE=1000000 for a million)"
_BATCH = 1000  # arrays a `put_many`
_RATE = 100  # arrays a second that come and go while the keeper is watched
_ASKED = 2.0  # times the cost with few arrays
_SHARE = 0.05  # of a core, for the keeper

Samples = dict[str, list[float]]


def run(quick: bool) -> list[Line]:
    few, many = (500, 2_000) if quick else (10_000, int(os.environ.get("OUTLIVE_SCALE", "100000")))
    times, seconds = (50, 1.0) if quick else (2_000, 30.0)
    array = np.ones(128)
    with cluster(256 * MIB, budget=12 * GIB) as store:
        _fill(store, array, range(few))
        before = _measure(store, array, few, times)
        share_before = _share(store, array, seconds)
        _fill(store, array, range(few, many))
        after = _measure(store, array, many, times)
        share_after = _share(store, array, seconds)
        store.clear()
    state = f"warm: {many:,} arrays of 1 KiB with keys on one shelf"
    lines = [_compared(what, state, few, before[what], samples) for what, samples in after.items()]
    return [*lines, _watched(state, few, share_before, share_after)]


def _fill(store: outlive.Store, array: Any, numbers: range) -> None:
    for begin in range(numbers.start, numbers.stop, _BATCH):
        store.put_many({_key(number): array for number in range(begin, min(begin + _BATCH, numbers.stop))})


def _key(number: int) -> str:
    return f"ct/{number:07d}/denoised"


def _measure(store: outlive.Store, array: Any, present: int, times: int) -> Samples:
    """Seconds of each operation, on keys that are chosen by chance; as many arrays are there afterwards."""
    generator = np.random.default_rng(present)
    keys = [_key(int(number)) for number in generator.choice(present, min(times, present), replace=False)]
    handles: list[outlive.ArrayHandle] = []
    new = [f"new/{number}" for number in range(times)]
    return {
        "get by key, for the first time": list(_timed(store.__getitem__, keys)),
        "get by key, again": list(_timed(store.__getitem__, keys)),
        "put without a key": list(_timed(lambda _: handles.append(store.put(array)), new)),
        "get by handle": list(_timed(lambda handle: handle.get(), handles)),
        "delete without a key": list(_timed(store.delete, handles)),
        "put with a key": list(_timed(lambda key: store.put(array, key=key), new)),
        "delete by key": list(_timed(store.delete, new)),
        "overwrite a key": list(_timed(lambda key: store.put(array, key=key), keys)),
    }


def _timed(operation: Callable[[Any], Any], items: list[Any]) -> Iterator[float]:
    for item in items:
        begin = time.perf_counter()
        operation(item)
        yield time.perf_counter() - begin


def _share(store: outlive.Store, array: Any, seconds: float) -> float:
    """The keeper's share of a core while arrays come and go, once all that were there have their checksums."""
    (shelf,) = store.stats().shelves
    keeper, checksums = psutil.Process(shelf.keeper_pid), Checksums(f"{shelf.path}/checksums")
    while checksums.count() < shelf.arrays:  # else this would measure what the filling left to do
        time.sleep(0.1)
    handles: list[outlive.ArrayHandle] = []
    used, begin, number = _cpu(keeper), time.monotonic(), 0
    while (elapsed := time.monotonic() - begin) < seconds:
        if number / _RATE > elapsed:
            time.sleep(number / _RATE - elapsed)  # the rate is what is asked for
        handles.append(store.put(array))
        if len(handles) > _RATE:
            store.delete(handles.pop(0))
        number += 1
    share = (_cpu(keeper) - used) / (time.monotonic() - begin)
    store.delete(*handles)
    return share


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _compared(what: str, state: str, few: int, before: list[float], after: list[float]) -> Line:
    grown = statistics.median(after) / statistics.median(before)
    note = f"{grown:.2f} times that with {few:,}: {statistics.median(before) * 1e6:.1f} us"
    return Line(
        NAME, what, state, after, note=note, asked=f"within {_ASKED:g} times that with {few:,}", reached=grown <= _ASKED
    )


def _watched(state: str, few: int, before: float, after: float) -> Line:
    line = Line(NAME, f"the keeper, while {_RATE} arrays a second come and go", state, [after], unit="s per s")
    line.note = f"{before * 100:.2f} % with {few:,}"
    line.asked, line.reached = f"under {_SHARE:.0%} of a core", after < _SHARE
    return line
