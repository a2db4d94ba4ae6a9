"""Making an array in place, against making it and `ray.put`ting it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import ARENA, GIB, MIB, cluster, touch_arena
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate

NAME = "create"
ABOUT = "create() and fill in place, 256 MiB"
_LENGTH = 256 * MIB // 8


def run(quick: bool) -> list[Line]:
    arena = GIB if quick else ARENA
    with cluster(arena) as store:
        refs: list[Any] = []
        handles: list[outlive.ArrayHandle] = []

        def with_ray() -> float:
            begin = time.perf_counter()
            out = np.empty(_LENGTH)
            out[:] = 7
            ref = ray.put(out)
            seconds = time.perf_counter() - begin
            refs.append(ref)
            return seconds

        def with_outlive() -> float:
            begin = time.perf_counter()
            creation = store.create(_LENGTH, "float64")
            with creation as out:
                out[:] = 7
            seconds = time.perf_counter() - begin
            handles.append(creation.handle)
            return seconds

        def free() -> None:
            refs.clear()
            store.delete(*handles)
            handles.clear()

        sides = {RAY: with_ray, OUTLIVE: with_outlive}
        new: Samples = alternate(sides, 1 if quick else 5)
        free()
        touch_arena(arena)
        warm: Samples = alternate(sides, 2 if quick else 10, 1, free)
    what = "create() + fill, 256 MiB, against np.empty + fill + ray.put"
    return [
        times_faster(NAME, f"{what}, both stores new", "cold: no page of either store touched", new, asked=1),
        times_faster(NAME, f"{what}, Ray's arena warm", "warm: arena touched, freed each time", warm, asked=1),
    ]
