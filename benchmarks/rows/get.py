"""Reading by handle an array that this process is not looking at yet, against `ray.get` of a local object."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line, hardest, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, each

NAME = "get"
ABOUT = "handle.get() not yet mapped in this process: 1 KiB and 256 MiB"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    small = _size(store, "1 KiB", KIB, count=200 if quick else 1000, rounds=1, batch=20, processes=1 if quick else 3)
    large = _size(
        store,
        "256 MiB",
        256 * MIB,
        count=2 if quick else 4,
        rounds=5 if quick else 25,
        batch=2 if quick else 4,
        processes=1 if quick else 8,
    )
    return small + large


def _size(
    store: outlive.Store, label: str, nbytes: int, *, count: int, rounds: int, batch: int, processes: int
) -> list[Line]:
    """Both ways there are: the reader put the arrays itself, or another process did."""
    array = np.ones(nbytes // 8)
    refs: list[Any] = [ray.put(array) for _ in range(count)]
    handles = [store.put(array) for _ in range(count)]
    _warm_up(store)
    own, others = _nothing(), _nothing()
    for _ in range(rounds):
        _add(own, _read(refs, handles, batch))
    for _ in range(processes):  # in a list, refs stay refs
        _add(others, ray.get(_read_in_fresh_process.remote(refs, handles, batch)))
    store.delete(*handles)
    kept = f"{count} arrays, results kept, dropped untimed"
    again = f"; {rounds} times over" if rounds > 1 else ""
    fresh = f"cold: first reads in {processes} fresh process{'es' if processes > 1 else ''}; {kept}"
    lines = [
        times_faster(NAME, f"handle.get(), {label}, put by this process", f"cold: {kept}{again}", own),
        times_faster(NAME, f"handle.get(), {label}, put by another process", fresh, others),
    ]
    return hardest(lines, 10)


def _read(refs: list[Any], handles: list[outlive.ArrayHandle], batch: int) -> Samples:
    """Read each array once, in batches in turn; all results are kept until the end."""
    kept: list[object] = []
    sides = {RAY: each(ray.get, iter(refs), kept), OUTLIVE: each(outlive.ArrayHandle.get, iter(handles), kept)}
    return alternate(sides, len(refs) // batch, batch)


@ray.remote(max_calls=1)
def _read_in_fresh_process(refs: list[Any], handles: list[outlive.ArrayHandle], batch: int) -> Samples:
    _warm_up(outlive.open())
    return _read(refs, handles, batch)


def _warm_up(store: outlive.Store) -> None:
    """The first call of all loads modules on one side and maps the arena on the other: neither is measured."""
    array = np.zeros(64 * KIB)
    ref, handle = ray.put(array), store.put(array)
    for _ in range(5):
        ray.get(ref), handle.get()
    store.delete(handle)


def _nothing() -> Samples:
    return {RAY: [], OUTLIVE: []}


def _add(samples: Samples, more: Samples) -> None:
    for name, seconds in more.items():
        samples[name] += seconds
