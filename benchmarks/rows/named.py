"""Reading and writing by key, next to one bare call of an actor: reads need none, writes need one."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line, at_most
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, each
from outlive.store import session

NAME = "named"
ABOUT = "store.get(key), first time in a process and again, and store.put(array, key), next to one bare actor call"
_NOTE = "Ray's column is one bare actor call, so no ratio"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    count = 100 if quick else 500
    lines = []
    for label, nbytes in (("1 KiB", KIB), ("1 MiB", MIB)):
        keys = [f"{label}/{number}" for number in range(count)]
        store.put_many({key: np.ones(nbytes // 8) for key in keys})
        first, again, dropped = ray.get(_read_in_fresh_process.remote(keys))
        lines.append(
            at_most(_line(f"store.get(key), {label}", "cold: first time in a process", first), 60e-6, "under 60 us")
        )
        lines.append(
            at_most(_line(f"store.get(key), {label}, again", "warm: a view is held", again), 5e-6, "under 5 us")
        )
        if nbytes == KIB:
            state = "warm: read in the last second, and no view is held"
            lines.append(at_most(_line(f"store.get(key), {label}, again", state, dropped), 5e-6, "under 5 us"))
    array, keys = np.ones(KIB // 8), [f"put/{number}" for number in range(count)]
    put = each(lambda key: store.put(array, key), iter(keys), [])
    samples = alternate({RAY: _call, OUTLIVE: put}, count)
    line = _line("store.put(array, key), 1 KiB", "warm: new keys", samples)
    call = statistics.median(samples[RAY])
    lines.append(at_most(line, 1.3 * call, "at most 1.3 actor calls"))
    store.clear()
    return lines


def _line(what: str, state: str, samples: Samples) -> Line:
    return Line(NAME, what, state, samples[OUTLIVE], samples[RAY], note=_NOTE, compared=False)


@ray.remote(max_calls=1)
def _read_in_fresh_process(keys: list[str]) -> tuple[Samples, Samples, Samples]:
    store = outlive.open()
    for _ in range(50):
        _call()
        store.get("no such key")
    kept: deque[Any] = deque()
    first = alternate({RAY: _call, OUTLIVE: each(store.get, iter(keys), kept)}, len(keys) // 20, 20)
    again = alternate({RAY: _call, OUTLIVE: each(store.get, iter(keys), kept)}, len(keys) // 20, 20)
    kept.clear()
    few = list(itertools.islice(itertools.cycle(keys[:20]), len(keys)))
    dropped = alternate({RAY: _call, OUTLIVE: each(store.get, iter(few), deque(maxlen=0))}, len(few) // 20, 20)
    return first, again, dropped


def _call() -> float:
    begin = time.perf_counter()
    session.current().ask_catalog("ping")
    return time.perf_counter() - begin
