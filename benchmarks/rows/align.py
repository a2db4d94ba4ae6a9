"""A put into warm memory from sources that begin anywhere in a page, against a plain copy to the heap. No Ray.

Some processors copy 3-4 times slower if the target begins a little ahead of the source modulo 4096.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from benchmarks.cluster import MIB
from benchmarks.line import Line
from benchmarks.timing import OUTLIVE, RAY, alternate
from outlive.arrays.info import ArrayInfo
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer

NAME = "align"
ABOUT = "put 256 MiB into warm memory from a source that begins anywhere in a page: against a plain memcpy of it"
_NBYTES, _PAGE, _STEP = 256 * MIB, 4096, 64
_WORST = 1.3  # times the best, at most


def run(quick: bool) -> list[Line]:
    buffer = np.ones(_NBYTES + 2 * _PAGE, np.uint8)
    begin = -buffer.__array_interface__["data"][0] % _PAGE
    target = np.zeros(_NBYTES, np.uint8)
    lines = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix=f"outlive-align-{os.getpid()}-") as root:
        shelf = Shelf(f"{root}/shelf", budget=2 * _NBYTES + 64 * MIB)
        for distance in range(0, _PAGE, 8 * _STEP if quick else _STEP):
            source = buffer[begin + distance : begin + distance + _NBYTES]
            lines.append(_line(shelf, source, target, distance, 3 if quick else 9))
        shelf.remove()
    best = min(statistics.median(line.outlive) for line in lines)
    for line in lines:
        line.asked = f"{_WORST:g}x the best, at most"
        line.reached = statistics.median(line.outlive) <= _WORST * best
    return lines


def _line(shelf: Shelf, source: np.ndarray, target: np.ndarray, distance: int, rounds: int) -> Line:
    kept: list[ArrayInfo] = []

    def timed(operation: Callable[[], ArrayInfo | None]) -> float:
        start = time.perf_counter()
        info = operation()
        seconds = time.perf_counter() - start
        if info is not None:
            kept.append(info)
        return seconds

    def free() -> None:
        for info in kept:
            shelf.delete(info.id)
        kept.clear()

    sides = {
        RAY: lambda: timed(lambda: np.copyto(target, source)),
        OUTLIVE: lambda: timed(lambda: Writer(shelf).put(source)),
    }
    alternate(sides, 2, 1, free)
    samples = alternate(sides, rounds, 1, free)
    what = f"put 256 MiB, source {distance} bytes into a page"
    note = "Ray's column is a plain memcpy of the same source"
    return Line(NAME, what, "warm: segments recycled", samples[OUTLIVE], samples[RAY], note=note)
