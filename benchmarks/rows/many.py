"""A thousand, ten thousand, a hundred thousand arrays of 1 KiB."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import ray

import outlive
from benchmarks.cluster import GIB, KIB, cluster
from benchmarks.line import Line, at_most
from benchmarks.rows import actors
from benchmarks.timing import stopwatch

NAME = "many"
ABOUT = "10^3, 10^4 and 10^5 arrays of 1 KiB: put_many, len, keys(prefix=), and a restart of keeper and catalog"
_SECONDS = 60.0  # "in seconds": less than a minute
_LARGEST, _TO_PUT = 10**5, 6.0  # arrays, and seconds for a `put_many` of so many
_MOST_RAY_PUTS = 10**4


def run(quick: bool) -> list[Line]:
    lines: list[Line] = []
    with cluster(2 * GIB) as store:
        for exponent in (3,) if quick else (3, 4, 5):
            lines += _count(store, 10**exponent, f"10^{exponent}")
    return lines


def _count(store: outlive.Store, count: int, label: str) -> list[Line]:
    array = np.ones(KIB // 8)
    arrays = {f"{'even' if number % 2 == 0 else 'odd'}/{number}": array for number in range(count)}
    handles: dict[str, outlive.ArrayHandle] = {}
    rays = [_seconds(lambda: [ray.put(array) for _ in range(count)])] if count <= _MOST_RAY_PUTS else []
    put = _seconds(lambda: handles.update(store.put_many(arrays)))
    length = [_seconds(lambda: _expect(len(store), count)) for _ in range(5)]
    keys = [_seconds(lambda: _expect(len(list(store.keys(prefix="even/"))), count // 2)) for _ in range(5)]
    restart = _seconds(lambda: _restart(store, count))
    for key in list(arrays)[:: max(1, count // 100)]:
        _expect(store.handle(key) == handles[key], True)
        _expect(bool((store[key] == array).all()), True)
    clear = _seconds(store.clear)
    none, loop = "Ray: no counterpart", "Ray: a loop of ray.put" if rays else "Ray: not measured, a minute or more"
    lines = [
        Line(NAME, f"put_many of {label}", "cold: new keys", [put], rays, note=loop),
        Line(NAME, f"len() of {label}", "warm", length, note=none),
        Line(NAME, f"keys(prefix=) of {label}, half of them", "warm", keys, note=none),
        Line(NAME, f"clear() of {label}", "warm", [clear], note=none),
        Line(
            NAME,
            f"both actors killed until len() of {label} is right",
            "warm: segments in memory",
            [restart],
            note="Ray: arrays are lost with the process that put them",
        ),
    ]
    asked = [at_most(line, _SECONDS, "in seconds (under 60)") for line in lines]
    if count == _LARGEST:
        at_most(asked[0], _TO_PUT, f"under {_TO_PUT:g} s")
    return asked


def _restart(store: outlive.Store, count: int) -> None:
    """Kill keeper and catalog, and wait until the catalog that takes over knows all arrays."""
    killed = actors.processes(store)
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    while any(process.is_running() for process in killed):  # the answer has to come from the new ones
        time.sleep(0.001)
    _expect(len(store), count)


def _seconds(call: Callable[[], object]) -> float:
    with stopwatch() as watch:
        call()
    return watch.seconds


def _expect(found: object, right: object) -> None:
    if found != right:
        raise AssertionError(f"wrong answer: {found} instead of {right}")
