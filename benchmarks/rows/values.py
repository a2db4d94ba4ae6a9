"""Values that are no arrays: stored and read, against `ray.put` and `ray.get` of the same values."""

from __future__ import annotations

import importlib.util
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks import system_calls
from benchmarks.cluster import MIB
from benchmarks.line import Line, at_most, times_faster
from benchmarks.report import number
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, each

NAME = "values"
ABOUT = "put and get of values: a dict of volumes, a frame, a tensor, many small arrays, nested objects"
_ROWS = 1_000_000  # of the frame
_BATCH = 20  # reads of a side in a row


def run(store: outlive.Store, quick: bool) -> list[Line]:
    lines = []
    for label, make, large in _kinds():
        value = make()
        lines += _kind(store, label, value, rounds=3 if quick else 15, asked=3 if large else None)
    return [*lines, _memory(store)]


def _kinds() -> list[tuple[str, Callable[[], Any], bool]]:
    """What each is called, what makes it, and whether it has large buffers. A library that is missing has no rows."""
    kinds: list[tuple[str, Callable[[], Any], bool]] = [("dict of 3 volumes of 64 MiB", _volumes, True)]
    if importlib.util.find_spec("pandas"):
        kinds.append((f"frame of 10 numeric and 2 text columns, {_ROWS:,} rows", _frame, True))
    if importlib.util.find_spec("torch"):
        kinds.append(("torch tensor of 256 MiB", _tensor, True))
    kinds.append(("list of 1,000 arrays of 800 bytes", _small_arrays, False))
    kinds.append(("nested Python objects, about 10 MB", _objects, False))
    return kinds


def _volumes() -> Any:
    return {name: np.random.default_rng(seed).random(8 * MIB) for seed, name in enumerate(("image", "mask", "dose"))}


def _frame() -> Any:
    import pandas as pd

    rng = np.random.default_rng(7)
    words = np.array(["liver", "kidney", "spleen", "left lung", "right lung"])
    columns: dict[str, Any] = {f"x{number}": rng.random(_ROWS) for number in range(10)}
    return pd.DataFrame({**columns, "organ": rng.choice(words, _ROWS), "side": rng.choice(words[:2], _ROWS)})


def _tensor() -> Any:
    import torch

    return torch.rand(64 * MIB)  # of 4 bytes each


def _small_arrays() -> Any:
    return [np.full(100, float(number)) for number in range(1000)]


def _objects() -> Any:
    rng = random.Random(7)
    return [
        {"id": number, "name": f"patient {number}", "visits": [rng.random() for _ in range(8)], "tags": ("a", None)}
        for number in range(50_000)
    ]


def _kind(store: outlive.Store, label: str, value: Any, *, rounds: int, asked: float | None) -> list[Line]:
    refs: list[Any] = []
    handles: list[Any] = []

    def free() -> None:
        refs.clear()
        store.delete(*handles)
        handles.clear()

    def puts(count: int) -> Samples:
        again = [value] * count
        sides = {RAY: each(ray.put, iter(again), refs), OUTLIVE: each(store.put, iter(again), handles)}
        return alternate(sides, count, 1, free)

    def gets(count: int) -> Samples:
        refs.extend(ray.put(value) for _ in range(2))
        handles.extend(store.put(value) for _ in range(2))
        last: deque[object] = deque(maxlen=1)  # each read drops what was read before it, so all map a value anew
        sides = {
            RAY: each(ray.get, itertools.cycle(refs), last),
            OUTLIVE: each(outlive.ArrayHandle.get, itertools.cycle(handles), last),
        }
        samples = alternate(sides, count, _BATCH)
        last.clear()
        free()
        return samples

    puts(2), gets(1)
    put, got = puts(rounds), gets(rounds)
    note = f"the system calls alone: {number(system_calls.reading(192 * MIB), 's')}"
    state = "cold: put by this process, dropped untimed; in batches"
    return [
        times_faster(NAME, f"put, {label}", "warm: recycled memory, freed untimed", put, asked=1),
        times_faster(NAME, f"get, {label}", state, got, asked=asked, note=note),
    ]


def _memory(store: outlive.Store) -> Line:
    value = _volumes()
    ref, handle = ray.put(value), store.put(value)
    rays, mine = (ray.get(_unique.remote([item])) for item in (ref, handle))
    store.delete(handle)
    what = "unique memory (USS) of a worker that has read the dict of 192 MiB"
    line = Line(NAME, what, "warm: after a value of the same kind", mine, rays, unit="B")
    return at_most(line, 4 * MIB, "no copy of a buffer (under 4 MiB)")


@ray.remote(max_calls=1)
def _unique(items: list[Any]) -> list[float]:
    """Bytes of USS that a worker gains as it reads a value, and holds it."""
    store = outlive.open()
    small = {"image": np.zeros(MIB), "mask": np.zeros(MIB)}
    own = store.put(small)
    own.get(), ray.get(ray.put(small))
    store.delete(own)
    process = psutil.Process()
    before = process.memory_full_info().uss
    (item,) = items
    value = item.get() if isinstance(item, outlive.ArrayHandle) else ray.get(item)
    after = process.memory_full_info().uss
    del value
    return [float(after - before)]
