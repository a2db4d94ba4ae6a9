"""Calls of the catalog by its own port and through Ray: puts by key, how many fit into a second, and their CPU time."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line, at_most, times_faster
from benchmarks.machine import quiet
from benchmarks.names import BARE_CALL
from benchmarks.several import Raylets, Reader, raylets
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate
from outlive.calls.line import Line as Port
from outlive.calls.line import NotMade

NAME = "calls"
ABOUT = "three raylets: put by key, overwrite, keyed puts a second of 8 processes, CPU time a call; by port and by Ray"
_SETTING = "OUTLIVE_CALLS"
_PROCESSES, _ROUNDS = 8, 5
_STATE = "warm: a few such calls before"


def run(quick: bool) -> list[Line]:
    lines, bare = list[Line](), Samples()
    for setting in ("port", "ray"):
        before = os.environ.get(_SETTING)
        os.environ[_SETTING] = setting
        try:
            with raylets(3, 100 * MIB, 512 * MIB) as nodes:
                lines += _lines(nodes, setting, 200 if quick else 1000, 3 if quick else 20)
                if setting == "port":
                    bare = _bare(outlive.open(), 5 if quick else 50)
        finally:
            os.environ.pop(_SETTING)
            if before is not None:
                os.environ[_SETTING] = before
    by_port, by_ray = (
        next(line for line in lines if line.what == f"{BARE_CALL}, by {each}") for each in ("port", "ray")
    )
    note = f"by port: {by_port.note}; through Ray: {by_ray.note}"
    state = "warm: in one cluster, in turn, 20 at a time"
    return [*lines, Line(NAME, f"{BARE_CALL}, beside Ray", state, bare[OUTLIVE], bare[RAY], note=note)]


def _lines(nodes: Raylets, setting: str, count: int, rounds: int) -> list[Line]:
    store, array, numbers = outlive.open(), np.ones(KIB // 8), itertools.count()
    find = _timed(lambda: "missing" in store, count)
    put = _timed(lambda: store.put(array, key=f"new/{next(numbers)}"), count)
    over = _timed(lambda: store.put(array, key="same"), count)
    writers: list[Any] = [_Writer.options(**nodes.on(number % 3)).remote(number) for number in range(_PROCESSES)]
    ray.get([writer.put.remote(20) for writer in writers])
    quiet()
    rates = [_rate(writers, count) for _ in range(2 if count < 1000 else _ROUNDS)]
    by = f"by {setting}"
    port = setting == "port"
    lines = [
        Line(NAME, f"store.put(array, key), 1 KiB, {by}", _STATE, put.wall, note=put.note),
        Line(NAME, f"{BARE_CALL}, {by}", _STATE, find.wall, note=find.note),
        Line(NAME, f"store.put(array, key) over another array, {by}", _STATE, over.wall, note=over.note),
        Line(NAME, f"keyed puts a second, {_PROCESSES} processes on 3 raylets, {by}", _STATE, rates, unit="calls"),
        times_faster(NAME, f"first read of 1 KiB of another node, {by}", _STATE, _reads(store, nodes, rounds), 1.0),
    ]
    if port:
        at_most(lines[0], 300e-6, "under 300 us")
        lines[3].asked, lines[3].reached = "5000 a second", median(rates) >= 5000
    return lines


def _bare(store: outlive.Store, rounds: int) -> Samples:
    """The same call by the port and through Ray, in turn."""

    def call() -> float:
        begin = time.perf_counter()
        assert "missing" not in store
        return time.perf_counter() - begin

    def through_ray() -> float:
        with mock.patch.object(Port, "call", side_effect=NotMade("to be compared")):
            return call()

    sides = {RAY: through_ray, OUTLIVE: call}
    alternate(sides, 2, 20)
    return alternate(sides, rounds, 20)


def _rate(writers: list[Any], count: int) -> float:
    """Puts a second of all writers, with so many of each."""
    begin = time.perf_counter()
    ray.get([writer.put.remote(count) for writer in writers])
    return _PROCESSES * count / (time.perf_counter() - begin)


class _Measured:
    """Seconds of each call, and the CPU time of both sides."""

    def __init__(self, wall: list[float], client: float, catalog: float) -> None:
        self.wall = wall
        self.note = f"CPU time a call: {client * 1e6:.0f} us here, {catalog * 1e6:.0f} us of the catalog"


def _timed(do: Callable[[], object], count: int) -> _Measured:
    for _ in range(20):
        do()
    catalog = _catalog()
    before, here, wall = sum(catalog.cpu_times()[:2]), time.process_time(), list[float]()
    for _ in range(count):
        begin = time.perf_counter()
        do()
        wall.append(time.perf_counter() - begin)
    here = time.process_time() - here
    return _Measured(wall, here / count, (sum(catalog.cpu_times()[:2]) - before) / count)


def _catalog() -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if (process.cmdline() or [""])[0].startswith("ray::Catalog"):
            return process
    raise AssertionError("no catalog runs here")


@ray.remote
class _Writer:
    def __init__(self, number: int) -> None:
        self._store, self._number, self._count = outlive.open(), number, itertools.count()

    def put(self, count: int) -> None:
        array = np.ones(KIB // 8)
        for _ in range(count):
            self._store.put(array, key=f"{self._number}/{next(self._count)}")


def _reads(store: outlive.Store, nodes: Raylets, rounds: int) -> Samples:
    reader: Any = ray.remote(Reader).options(**nodes.on(1)).remote()
    numbers = itertools.count()

    def array() -> Any:
        return np.full(KIB // 8, float(next(numbers)))

    def with_outlive() -> float:
        handle = store.put(array())
        seconds = float(ray.get(reader.get.remote(handle)))
        store.delete(handle)
        return seconds

    sides = {RAY: lambda: float(ray.get(reader.ray_get.remote([ray.put(array())]))), OUTLIVE: with_outlive}
    return {side: some[2:] for side, some in alternate(sides, rounds + 2).items()}
