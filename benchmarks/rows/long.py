"""Storing 256 MiB again and again in one long-lived process, against `ray.put` and a plain copy of memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import ARENA, GIB, MIB, cluster, touch_arena
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, Sides, alternate

NAME = "long"
ABOUT = "put 256 MiB again and again in one long-lived process: against ray.put, and against a plain memcpy"
_LENGTH = 256 * MIB // 8


def run(quick: bool) -> list[Line]:
    arena = GIB if quick else ARENA
    array = np.ones(_LENGTH)
    target = np.zeros(_LENGTH)
    with cluster(arena) as store:
        touch_arena(arena)
        kept: list[Any] = []

        def timed(operation: Any) -> float:
            begin = time.perf_counter()
            result = operation()
            seconds = time.perf_counter() - begin
            kept.append(result)
            return seconds

        def free() -> None:
            store.delete(*(one for one in kept if isinstance(one, outlive.ArrayHandle)))
            kept.clear()

        sides: Sides = {
            RAY: lambda: timed(lambda: ray.put(array)),
            OUTLIVE: lambda: timed(lambda: store.put(array)),
            "memcpy": lambda: timed(lambda: np.copyto(target, array)),
        }
        alternate(sides, 3, 1, free)
        samples = alternate(sides, 5 if quick else 25, 1, free)
    state = "warm: arena touched, segments recycled; freed untimed after each"
    what = "put 256 MiB, long-lived process"
    copied = {RAY: samples["memcpy"], OUTLIVE: samples[OUTLIVE]}
    note = "Ray's column is a plain memcpy of the same size"
    return [
        times_faster(NAME, what, state, samples, asked=1),
        times_faster(NAME, f"{what}, against memcpy", state, copied, asked=0.8, note=note),
    ]
