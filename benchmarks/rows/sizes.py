"""Put and read by size, from 1 KiB to 1 GiB, against `ray.put` and `ray.get` on the same mount."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import ARENA, GIB, KIB, MIB, cluster, touch_arena
from benchmarks.line import Line, size, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, each

NAME = "sizes"
ABOUT = "put and read by size, from 1 KiB to 1 GiB: the curve"
PUT, GET, READ = "put", "get", "get and sum"
_SIZES = [KIB << step for step in range(0, 21, 2)]
_BATCHES = ((64 * KIB, 20), (4 * MIB, 5), (GIB, 1))  # up to this size, so many operations at a time


def run(quick: bool) -> list[Line]:
    lines = []
    with cluster(GIB if quick else ARENA) as store:
        touch_arena(GIB if quick else ARENA)
        reader: Any = _Reader.remote()
        for nbytes in _SIZES[:-1:4] if quick else _SIZES:
            lines += _size(store, reader, nbytes, 3 if quick else 9)
    return lines


def _size(store: outlive.Store, reader: Any, nbytes: int, rounds: int) -> list[Line]:
    array = np.ones(nbytes // 8)
    batch = next(count for limit, count in _BATCHES if nbytes <= limit)
    refs: list[Any] = []
    handles: list[outlive.ArrayHandle] = []
    found: dict[str, Samples] = {what: {RAY: [], OUTLIVE: []} for what in (PUT, GET, READ)}

    def read_and_free() -> None:
        """All that was put is read by another process, then freed."""
        for what, samples in ray.get(reader.read.remote(refs, handles)).items():
            for side, seconds in samples.items():
                found[what][side] += seconds
        refs.clear()
        store.delete(*handles)
        handles.clear()

    same = itertools.repeat(array)
    sides = {RAY: each(ray.put, same, refs), OUTLIVE: each(store.put, same, handles)}
    alternate(sides, 2, batch, read_and_free)  # segments, arena and maps are new before
    found = {what: {RAY: [], OUTLIVE: []} for what in found}
    found[PUT] = alternate(sides, rounds, batch, read_and_free)
    first = "first read, by another process: Ray's arena is mapped already, each array of outlive's is not"
    states = {PUT: "warm: arena touched, segments recycled; freed untimed", GET: first, READ: first}
    return [times_faster(NAME, f"{what}, {size(nbytes)}", states[what], found[what]) for what in found]


@ray.remote(num_cpus=0)
class _Reader:
    """Reads each array once. In a list, refs stay refs."""

    def __init__(self) -> None:
        outlive.open()
        self._order = 1

    def read(self, refs: list[Any], handles: list[outlive.ArrayHandle]) -> dict[str, Samples]:
        sides: list[tuple[str, Callable[[Any], Any], Iterable[Any]]] = [
            (RAY, ray.get, refs),
            (OUTLIVE, outlive.ArrayHandle.get, handles),
        ]
        found: dict[str, Samples] = {what: {RAY: [], OUTLIVE: []} for what in (GET, READ)}
        self._order = -self._order
        for side, get, items in sides[:: self._order]:
            kept = list[Any]()
            for item in items:
                begin = time.perf_counter()
                array = get(item)
                middle = time.perf_counter()
                total = array.sum()
                end = time.perf_counter()
                assert total == array.size
                kept.append(array)
                found[GET][side].append(middle - begin)
                found[READ][side].append(end - begin)
            del array
        return found
