"""A put into warm memory by as many threads as outlive chooses, against the same by one thread. No Ray."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from benchmarks.cluster import MIB
from benchmarks.line import Line
from benchmarks.timing import OUTLIVE, RAY, alternate
from outlive.arrays.copying import SETTING, threads
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer

NAME = "copies"
ABOUT = "put 256 MiB into warm memory, by layout: as many threads as outlive chooses, against one"
_SIDE = 5792  # rows and columns of 8 bytes: 256 MiB


def run(quick: bool) -> list[Line]:
    numbers = np.ones((_SIDE, _SIDE))
    layouts = {
        "C order": numbers,
        "Fortran order": np.asfortranarray(numbers),
        "every second column": np.ones((_SIDE, 2 * _SIDE))[:, ::2],
    }
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix=f"outlive-copies-{os.getpid()}-") as root:
        shelf = Shelf(f"{root}/shelf", budget=600 * MIB)
        lines = [_line(shelf, name, array, 3 if quick else 15) for name, array in layouts.items()]
        shelf.remove()
    return lines


def _line(shelf: Shelf, name: str, array: np.ndarray, rounds: int) -> Line:
    chosen = Counter[int]()

    def put() -> float:
        begin = time.perf_counter()
        info = Writer(shelf).put(array)
        seconds = time.perf_counter() - begin
        shelf.delete(info.id)
        return seconds

    def by_one() -> float:
        return _with_setting("1", put)

    def by_choice() -> float:
        chosen[threads(array.nbytes)] += 1  # just before: the put looks for itself
        return put()

    sides = {RAY: by_one, OUTLIVE: by_choice}
    alternate(sides, 2)
    chosen.clear()
    samples = alternate(sides, rounds)
    times = ", ".join(f"{count} thread{'s' * (count > 1)} {number} times" for count, number in sorted(chosen.items()))
    note = f"Ray's column is outlive's with one thread; chosen: {times}"
    return Line(NAME, f"put 256 MiB, {name}", "warm: segments recycled", samples[OUTLIVE], samples[RAY], note=note)


def _with_setting(value: str, act: Callable[[], float]) -> float:
    os.environ[SETTING] = value
    try:
        return act()
    finally:
        del os.environ[SETTING]
