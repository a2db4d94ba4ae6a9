"""What the keeper and the catalog cost: their memory, and the CPU that they use while nothing happens."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import GIB, KIB, MIB, cluster
from benchmarks.line import Line, at_most
from outlive.cluster import actors

NAME = "actors"
ABOUT = "keeper + catalog: unique memory, and CPU while idle"


def run(quick: bool) -> list[Line]:
    seconds = 2 if quick else 20
    with cluster(GIB, 2 * GIB) as store:
        bare_actor: Any = _Bare
        bare = [bare_actor.remote() for _ in range(2)]
        theirs = [psutil.Process(ray.get(actor.pid.remote())) for actor in bare]
        mine = processes(store)
        new = Line(
            NAME, "keeper + catalog, unique memory (USS)", "cold: just started", [_unique(mine)], [_unique(theirs)], "B"
        )
        _work(store, 50 if quick else 500)
        time.sleep(3 if quick else 4)  # the keeper computes checksums once arrays have been there for two seconds
        used = Line(
            NAME, "keeper + catalog, unique memory (USS)", "warm: after work", [_unique(mine)], [_unique(theirs)], "B"
        )
        rates = [_cpu_of(some, seconds) for some in (mine, theirs)]
    idle = Line(
        NAME, f"keeper + catalog, CPU while idle for {seconds} s", "warm: after work", [rates[0]], [rates[1]], "s per s"
    )
    for line in (new, used, idle):
        line.note = "Ray: two actors that do nothing"
    limit = 130e6
    return [
        at_most(new, limit, "under 130 MB"),
        at_most(used, limit, "under 130 MB"),
        at_most(idle, max(0.01, rates[1] * 1.5), "none (as an empty actor, or under 1 %)"),
    ]


@ray.remote(num_cpus=0)
class _Bare:
    def pid(self) -> int:
        return os.getpid()


def processes(store: outlive.Store) -> list[psutil.Process]:
    """Keeper and catalog."""
    catalog: Any = actors.catalog()
    catalog_pid = ray.get(catalog.__ray_call__.remote(lambda _: os.getpid()))
    return [psutil.Process(store.stats().shelves[0].keeper_pid), psutil.Process(catalog_pid)]


def _unique(some: list[psutil.Process]) -> float:
    return float(sum(process.memory_full_info().uss for process in some))


def _cpu_of(some: list[psutil.Process], seconds: float) -> float:
    """CPU seconds per second that goes by."""
    before = sum(sum(process.cpu_times()[:2]) for process in some)
    time.sleep(seconds)
    return float(sum(sum(process.cpu_times()[:2]) for process in some) - before) / seconds


def _work(store: outlive.Store, count: int) -> None:
    """Put, read, overwrite, delete."""
    array, keys = np.ones(KIB // 8), [str(number) for number in range(count)]
    for _ in range(2):
        for key in keys:
            store.put(array, key)
            store.get(key)
    store.put(np.ones(64 * MIB // 8), "large")
    _ = list(store.keys()), len(store)
    store.delete("large", *keys)
