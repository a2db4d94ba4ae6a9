"""Memory beyond the arrays: in the store, and in a worker after it has dropped its views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line, at_most
from outlive.store import session

NAME = "memory"
ABOUT = "memory beyond the array: in the store, and in a worker after the view is dropped"
_PAGE = 4096
_VIEWED = 64 * MIB


def run(store: outlive.Store, quick: bool) -> list[Line]:
    lines = [_in_store(store, label, size) for label, size in (("1 KiB", KIB), ("1 MiB", MIB), ("64 MiB", _VIEWED))]
    array = np.ones(_VIEWED // 8)
    refs, handles = [ray.put(array) for _ in range(4)], [store.put(array) for _ in range(4)]
    rounds = 2 if quick else 5
    with_ray, with_outlive = (ray.get(_left.remote(some, rounds)) for some in (refs, handles))
    store.delete(*handles)
    state = f"warm: 4 arrays of 64 MiB read, summed and dropped, {rounds} times, after one that loads the libraries"
    unique, resident = (
        Line(NAME, f"{what} of a worker, after its views are dropped", state, mine, rays, unit="B")
        for what, mine, rays in zip(
            ("unique memory (USS)", "resident memory (RSS)"), with_outlive, with_ray, strict=True
        )
    )
    return [
        *lines,
        at_most(unique, 16 * _PAGE, "nothing (under 64 KiB)"),
        at_most(resident, MIB, "nothing (under 1 MiB)"),
    ]


def _in_store(store: outlive.Store, label: str, nbytes: int) -> Line:
    """Bytes of memory that the array's file takes, less the pages that its data alone would."""
    handles = [store.put(np.ones(nbytes // 8)) for _ in range(10)]
    paths = [Path(session.current().shelf.mem) / handle.id for handle in handles]
    beyond = [float(path.stat().st_blocks * 512 - -(-nbytes // _PAGE) * _PAGE) for path in paths]
    store.delete(*handles)
    line = Line(NAME, f"in the store, per array of {label}, beyond its data's pages", "warm", beyond, unit="B")
    return at_most(line, _PAGE + 1, "one page (and an inode)")


@ray.remote(max_calls=1)
def _left(items: list[Any], rounds: int) -> tuple[list[float], list[float]]:
    """Bytes of USS and of RSS in a fresh worker, after each round, beyond what it had before the first."""
    store = outlive.open()
    small = np.ones(MIB // 8)
    own = store.put(small)
    _read_and_drop([own, ray.put(small)])
    store.delete(own)
    process = psutil.Process()
    before = process.memory_full_info()
    unique, resident = [], []
    for _ in range(rounds):
        _read_and_drop(items)
        now = process.memory_full_info()
        unique.append(float(now.uss - before.uss))
        resident.append(float(now.rss - before.rss))
    return unique, resident


def _read_and_drop(items: list[Any]) -> None:
    for item in items:
        float((item.get() if isinstance(item, outlive.ArrayHandle) else ray.get(item)).sum())
