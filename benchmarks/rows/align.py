"""A put into warm memory from sources that begin anywhere in a page, against a plain copy to the heap. No Ray.

Some processors copy 3-4 times slower if the target begins a little ahead of the source modulo 4096. Each round measures
all sources, in another order, so that a machine whose speed drifts slows all of them.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cluster import MIB
from benchmarks.line import Line
from benchmarks.names import WORST_SOURCE
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer

NAME = "align"
ABOUT = "put 256 MiB into warm memory from a source that begins anywhere in a page: against a plain memcpy of it"
_NBYTES, _PAGE, _STEP = 256 * MIB, 4096, 64
_ROUNDS = 15
_WORST = 1.3  # times the best, at most
_STATE = "warm: segments recycled"


def run(quick: bool) -> list[Line]:
    buffer = np.ones(_NBYTES + 2 * _PAGE, np.uint8)
    begin = -buffer.__array_interface__["data"][0] % _PAGE
    target = np.zeros(_NBYTES, np.uint8)
    distances = range(0, _PAGE, 8 * _STEP if quick else _STEP)
    found: dict[int, Samples] = {distance: {RAY: [], OUTLIVE: []} for distance in distances}
    shuffled = random.Random(7)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix=f"outlive-align-{os.getpid()}-") as root:
        shelf = Shelf(f"{root}/shelf", budget=2 * _NBYTES + 64 * MIB)
        _turn(shelf, buffer[begin : begin + _NBYTES], target)  # segments are new before
        for _ in range(3 if quick else _ROUNDS):
            for distance in shuffled.sample(distances, len(distances)):
                source = buffer[begin + distance : begin + distance + _NBYTES]
                for side, seconds in _turn(shelf, source, target, shuffled.choice((1, -1))).items():
                    found[distance][side] += seconds
        shelf.remove()
    return lines(found)


def lines(found: dict[int, Samples]) -> list[Line]:
    """A line for each point, and one of the slowest beside the fastest."""
    note = "Ray's column is a plain memcpy of the same source"
    points = [
        Line(NAME, f"put 256 MiB, source {distance} bytes into a page", _STATE, one[OUTLIVE], one[RAY], note=note)
        for distance, one in found.items()
    ]
    ordered = sorted(points, key=lambda line: statistics.median(line.outlive))
    fastest, slowest = (statistics.median(line.outlive) for line in (ordered[0], ordered[-1]))
    for line in points:
        line.asked = f"{_WORST:g}x the best, at most"
        line.reached = statistics.median(line.outlive) <= _WORST * fastest
    missed = sum(not line.reached for line in points)
    worst = Line(NAME, WORST_SOURCE, _STATE, ordered[-1].outlive, ordered[0].outlive, compared=False)
    worst.asked, worst.reached = f"each source within {_WORST:g} times the fastest", not missed
    worst.note = f"{missed} of {len(points)} miss it; the slowest takes {slowest / fastest:.2f} times as long"
    return [*points, worst]


def _turn(shelf: Shelf, source: Any, target: Any, order: int = 1) -> Samples:
    """One put and one memcpy."""

    def put() -> float:
        begin = time.perf_counter()
        info = Writer(shelf).put(source)
        seconds = time.perf_counter() - begin
        shelf.delete(info.id)
        return seconds

    def memcpy() -> float:
        begin = time.perf_counter()
        np.copyto(target, source)
        return time.perf_counter() - begin

    sides: dict[str, Callable[[], float]] = {RAY: memcpy, OUTLIVE: put}
    return alternate({name: sides[name] for name in list(sides)[::order]}, 1)
