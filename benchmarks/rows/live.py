"""Reading an array that this process is looking at already."""

from __future__ import annotations

import time

import numpy as np
import ray

import outlive
from benchmarks.cluster import MIB
from benchmarks.line import Line, at_most
from benchmarks.timing import OUTLIVE, RAY, alternate

NAME = "live"
ABOUT = "handle.get() of a live view"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    array = np.ones(MIB // 8)
    ref, handle = ray.put(array), store.put(array)
    alive = ray.get(ref), handle.get()

    def from_ray() -> float:
        begin = time.perf_counter()
        ray.get(ref)
        return time.perf_counter() - begin

    def from_outlive() -> float:
        begin = time.perf_counter()
        handle.get()
        return time.perf_counter() - begin

    samples = alternate({RAY: from_ray, OUTLIVE: from_outlive}, 20 if quick else 100, 50)
    del alive
    line = Line(NAME, "handle.get() of a live view, 1 MiB", "warm: a view is alive", samples[OUTLIVE], samples[RAY])
    return [at_most(line, 3e-6, "under 3 us")]
