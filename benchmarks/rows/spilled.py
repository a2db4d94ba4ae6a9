"""Reading an array that was spilled, its pages in the page cache, against the same from memory."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line
from benchmarks.timing import Samples, alternate, each
from outlive.arrays.spill.move import spill
from outlive.store import session

NAME = "spilled"
ABOUT = "handle.get() of an array on disk, page cache warm, against one in memory: 1 KiB, 1 MiB and 64 MiB"
MEMORY, DISK = "memory", "disk"
AS_FAST = 1.25  # times the median from memory


def run(store: outlive.Store, quick: bool) -> list[Line]:
    sizes = [("1 KiB", KIB, 200), ("1 MiB", MIB, 200), ("64 MiB", 64 * MIB, 4)]
    return [line for label, size, count in sizes for line in _size(store, label, size, count, 2 if quick else 20)]


def _size(store: outlive.Store, label: str, nbytes: int, count: int, rounds: int) -> list[Line]:
    shelf = session.current().shelf
    assert shelf.disk is not None, "there is no disk to spill to here"
    handles = {place: [store.put(np.ones(nbytes // 8)) for _ in range(count)] for place in (MEMORY, DISK)}
    for handle in handles[DISK]:
        assert spill(shelf, shelf.disk, handle.id)
    samples: Samples = {MEMORY: [], DISK: []}
    first_look: list[float] = []
    for number in range(rounds + 1):
        long_ago = time.time() - 3600  # or what is on disk would be brought back for being read so often
        for handle in (*handles[MEMORY], *handles[DISK]):
            os.utime(shelf.locate(handle.id) or "", (long_ago, long_ago))
        kept: list[object] = []
        sides = {place: each(outlive.ArrayHandle.get, iter(some), kept) for place, some in handles.items()}
        for place, seconds in alternate(sides, max(1, count // 20), min(count, 20)).items():
            if number:
                samples[place] += seconds
            elif place == DISK:
                first_look = seconds
        kept.clear()
    spilled = {handle.id for handle in handles[DISK]}
    assert spilled <= set(shelf.spilled()), "some came back meanwhile"
    store.delete(*handles[MEMORY], *handles[DISK])
    state = f"warm: {count} arrays read before but not mapped, results kept; {rounds} times over; page cache warm"
    factor = statistics.median(samples[DISK]) / statistics.median(samples[MEMORY])
    first = "cold: first reads in this process, which looks in memory first; page cache warm"
    return [
        Line(NAME, f"handle.get(), {label}, in memory", state, samples[MEMORY]),
        Line(NAME, f"handle.get(), {label}, spilled", first, first_look),
        Line(
            NAME,
            f"handle.get(), {label}, spilled",
            state,
            samples[DISK],
            asked=f"as fast as in memory (at most {AS_FAST:g} times)",
            reached=factor <= AS_FAST,
            note=f"{factor:.2f} times the median from memory",
        ),
    ]
