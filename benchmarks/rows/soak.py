"""Put, overwrite and delete for minutes: memory stays flat in keeper, catalog, writer, reader and the shelf."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import MIB, cluster
from benchmarks.line import Line

NAME = "soak"
ABOUT = "put, overwrite, delete at 200 MB/s for 10 minutes (OUTLIVE_SOAK_MINUTES=60 for an hour): growth of memory"
_RATE = 200e6  # bytes a second
_KEYS = 20


def run(quick: bool) -> list[Line]:
    minutes = float(os.environ.get("OUTLIVE_SOAK_MINUTES", "0.2" if quick else "10"))
    with cluster(256 * MIB) as store:
        reader: Any = _Reader.options(num_cpus=0).remote(store)
        pids = {"writer": os.getpid(), "reader": ray.get(reader.pid.remote()), **_actors()}
        reading = reader.read.remote(minutes * 60)
        samples = _write(store, pids, minutes * 60)
        reads = ray.get(reading)
        store.clear()
    fifth = max(1, len(samples["shelf"]) // 5)
    state = f"{minutes:g} minutes, 1 to 16 MiB each at 200 MB/s, {_KEYS} keys, {reads} reads meanwhile"
    lines = []
    for name, values in samples.items():
        first = statistics.median(values[:fifth])  # not the largest: what is live changes by chance
        growth = statistics.median(values[-fifth:]) - first
        note = f"{first / 1e6:.0f} MB at first, largest {max(values) / 1e6:.0f} MB"
        what = f"growth of {name}, median of the last fifth against the first"
        line = Line(NAME, what, state, [float(growth)], unit="B", note=note)
        line.asked, line.reached = "flat: under 5 % or 5 MB", growth < max(5e6, 0.05 * first)
        lines.append(line)
    return lines


def _write(store: outlive.Store, pids: dict[str, int], seconds: float) -> dict[str, list[int]]:
    generator, processes = np.random.default_rng(1), {name: psutil.Process(pid) for name, pid in pids.items()}
    samples: dict[str, list[int]] = {name: [] for name in (*processes, "shelf")}
    begin, written, sampled = time.monotonic(), 0.0, 0.0
    source = np.ones(16 * MIB, np.uint8)
    while (elapsed := time.monotonic() - begin) < seconds:
        if written / _RATE > elapsed:
            time.sleep(written / _RATE - elapsed)  # the rate is what is asked for
        size = int(generator.integers(MIB, 16 * MIB))
        key = f"k{generator.integers(_KEYS)}"
        store[key] = source[:size]
        written += size
        if generator.random() < 0.2:
            store.delete(key)
        if elapsed - sampled > seconds / 200:
            sampled = elapsed
            for name, process in processes.items():
                samples[name].append(process.memory_full_info().uss)
            samples["shelf"].append(sum(shelf.used for shelf in store.stats().shelves))
    return samples


@ray.remote
class _Reader:
    def __init__(self, store: outlive.Store) -> None:
        self._store = store

    def pid(self) -> int:
        return os.getpid()

    def read(self, seconds: float) -> int:
        end, reads, number = time.monotonic() + seconds, 0, 0
        while time.monotonic() < end:
            number += 1
            array = self._store.get(f"k{number % _KEYS}")
            if array is not None:
                assert array[0] == array[-1] == 1
                reads += 1
            time.sleep(0.005)
        return reads


def _actors() -> dict[str, int]:
    found = {}
    for process in psutil.Process().children(recursive=True):
        title = " ".join(process.cmdline()[:1])
        for name in ("Keeper", "Catalog"):
            if title.startswith(f"ray::{name}"):
                found[name.lower()] = process.pid
    return found
