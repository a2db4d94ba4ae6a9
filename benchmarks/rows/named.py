"""Reading and writing by key: what it costs beyond the one call of an actor that it needs."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line, at_most
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, each
from outlive.cluster import session

NAME = "named"
ABOUT = "store.get(key), first time in a process, and store.put(array, key), beyond one bare actor call"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    count = 100 if quick else 500
    lines = []
    for label, nbytes in (("1 KiB", KIB), ("1 MiB", MIB)):
        keys = [f"{label}/{number}" for number in range(count)]
        store.put_many({key: np.ones(nbytes // 8) for key in keys})
        samples = ray.get(_read_in_fresh_process.remote(keys))
        lines.append(
            _beyond(f"store.get(key), {label}, beyond a bare actor call", "cold: first time in a process", samples)
        )
    array, keys = np.ones(KIB // 8), [f"put/{number}" for number in range(count)]
    put = each(lambda key: store.put(array, key), iter(keys), [])
    samples = alternate({RAY: _call, OUTLIVE: put}, count)
    put_line = _beyond("store.put(array, key), 1 KiB, beyond a bare actor call", "warm: new keys", samples)
    store.clear()
    return [*(at_most(line, 100e-6, "under 100 us") for line in lines), put_line]


def _beyond(what: str, state: str, samples: Samples) -> Line:
    """Each sample is an operation minus the bare actor call next to it."""
    beyond = [mine - call for mine, call in zip(samples[OUTLIVE], samples[RAY], strict=True)]
    whole = statistics.median(samples[OUTLIVE]) * 1e6
    note = f"in all {whole:.0f} us; Ray's column is the bare call, so no ratio"
    return Line(NAME, what, state, beyond, samples[RAY], note=note, compared=False)


@ray.remote(max_calls=1)
def _read_in_fresh_process(keys: list[str]) -> Samples:
    store = outlive.open()
    for _ in range(50):
        _call()
        store.get("no such key")
    get: Any = each(store.get, iter(keys), [])
    return alternate({RAY: _call, OUTLIVE: get}, len(keys))


def _call() -> float:
    begin = time.perf_counter()
    ray.get(session.current().catalog.ping.remote())
    return time.perf_counter() - begin
