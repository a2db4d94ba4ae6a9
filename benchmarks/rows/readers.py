"""Eight nodes: a reader on each of seven reads one large array of the head's at the same moment."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import MIB
from benchmarks.line import Line, times_faster
from benchmarks.several import Reader, raylets
from benchmarks.timing import OUTLIVE, RAY, alternate, stopwatch

NAME = "readers"
ABOUT = "eight raylets: seven nodes read one array of 256 MiB of the eighth at the same moment, until all have it"
_ASKED = 1.5  # times as fast as `ray.get`


def run(quick: bool) -> list[Line]:
    count, size, rounds = (4, 64 * MIB, 3) if quick else (8, 256 * MIB, 9)
    with raylets(count, 3 * size, 3 * size) as nodes:
        store = outlive.open()
        readers: list[Any] = [ray.remote(Reader).options(**nodes.on(i)).remote() for i in range(1, count)]
        numbers = itertools.count()

        def array() -> Any:
            return np.full(size // 8, float(next(numbers)))

        def with_ray() -> float:
            refs = [ray.put(array())]
            with stopwatch() as watch:
                ray.get([reader.ray_get.remote(refs) for reader in readers])
            return watch.seconds

        def with_outlive() -> float:
            handle = store.put(array())
            with stopwatch() as watch:
                ray.get([reader.get.remote(handle) for reader in readers])
            store.delete(handle)  # all copies
            return watch.seconds

        samples = alternate({RAY: with_ray, OUTLIVE: with_outlive}, rounds + 2)
        found = {side: some[2:] for side, some in samples.items()}  # connections, arenas and segments are new before
        what = f"{size // MIB} MiB read on {count - 1} other nodes at the same moment, until all have it"
        return [times_faster(NAME, what, "warm: a new array each time", found, _ASKED)]
