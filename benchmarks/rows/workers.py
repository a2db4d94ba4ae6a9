"""Storing 256 MiB inside workers that run one task each (`max_calls=1`): the work that outlive is for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import ARENA, GIB, MIB, cluster, touch_arena
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate

NAME = "workers"
ABOUT = "put 256 MiB inside fresh max_calls=1 workers: both stores new, then Ray's arena warm"
_SIZE = 256 * MIB


def run(quick: bool) -> list[Line]:
    arena = GIB if quick else ARENA
    with cluster(arena) as store:
        refs: list[Any] = []
        handles: list[Any] = []

        def to_ray() -> float:
            seconds, nested = ray.get(_put_to_ray.remote(_SIZE))
            refs.append(nested)
            return float(seconds)

        def to_outlive() -> float:
            seconds, handle = ray.get(_put_to_outlive.remote(_SIZE))
            handles.append(handle)
            return float(seconds)

        def free() -> None:
            refs.clear()
            store.delete(*handles)
            handles.clear()

        sides = {RAY: to_ray, OUTLIVE: to_outlive}
        new: Samples = alternate(sides, 1 if quick else 9)
        free()
        touch_arena(arena)
        warm: Samples = alternate(sides, 2 if quick else 10, 1, free)
    what = "put 256 MiB in fresh max_calls=1 workers"
    alone = "timed inside the task, the put alone"
    return [
        times_faster(NAME, f"{what}, both stores new", f"cold: no page of either store touched; {alone}", new, asked=2),
        times_faster(
            NAME, f"{what}, Ray's arena warm", f"warm: arena touched, freed each time; {alone}", warm, asked=1
        ),
    ]


@ray.remote(max_calls=1)
def _put_to_ray(size: int) -> tuple[float, list[Any]]:
    array = np.ones(size // 8)
    begin = time.perf_counter()
    ref = ray.put(array)
    return time.perf_counter() - begin, [ref]  # the array lives on while the driver holds the ref


@ray.remote(max_calls=1)
def _put_to_outlive(size: int) -> tuple[float, outlive.ArrayHandle]:
    array, store = np.ones(size // 8), outlive.open()  # Ray is connected already, too
    begin = time.perf_counter()
    handle = store.put(array)
    return time.perf_counter() - begin, handle
