"""Storing a small array without a key, against `ray.put`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks import system_calls
from benchmarks.cluster import KIB
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, alternate

NAME = "put"
ABOUT = "put without a key, 1 KiB"


def run(store: outlive.Store, quick: bool) -> list[Line]:
    array = np.ones(KIB // 8)
    refs: list[Any] = []
    handles: list[Any] = []

    def to_ray() -> float:
        begin = time.perf_counter()
        ref = ray.put(array)
        seconds = time.perf_counter() - begin
        refs.append(ref)
        return seconds

    def to_outlive() -> float:
        begin = time.perf_counter()
        handle = store.put(array)
        seconds = time.perf_counter() - begin
        handles.append(handle)
        return seconds

    def free() -> None:
        refs.clear()
        store.delete(*handles)
        handles.clear()

    sides = {RAY: to_ray, OUTLIVE: to_outlive}
    alternate(sides, 2, 20, free)
    samples = alternate(sides, 15 if quick else 100, 20, free)
    limit = "open, lock, write, close, rename, close: by Python's `os`, and no more"
    return [
        times_faster(NAME, "put without a key, 1 KiB", "warm: 20 at a time, freed untimed", samples, asked=15),
        Line(NAME, "the system calls of a put of 1 KiB", limit, system_calls.writing(KIB), samples[RAY]),
    ]
