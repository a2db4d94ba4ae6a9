"""Shared memory with pages of 4 KiB against pages of 2 MiB: put and first read, on two private mounts. No Ray."""

from __future__ import annotations

import sys

from benchmarks import pages
from benchmarks.line import Line
from benchmarks.page_size import LARGE
from benchmarks.timing import OUTLIVE, RAY, Samples
from outlive.tune.speed import Speeds, measure_private

NAME = "huge"
ABOUT = "put and first read of 128 MiB with pages of 2 MiB, against the same with pages of 4 KiB"
_WHAT = {
    "put": ("put 128 MiB", "cold: new memory"),
    "put_again": ("put 128 MiB", "warm: a segment is recycled"),
    "first_read": ("get and sum 128 MiB", "cold: not mapped"),
}
_NOTE = "Ray's column is outlive with pages of 4 KiB"


def run(quick: bool) -> list[Line]:
    if why := pages.refused():
        print(f"{NAME} is left out: {why}", file=sys.stderr)
        return []
    samples: dict[str, Samples] = {name: {RAY: [], OUTLIVE: []} for name in _WHAT}
    for number in range(2 if quick else 9):
        for side, setting in [(RAY, "never"), (OUTLIVE, "within_size")][:: 1 if number % 2 else -1]:
            found: Speeds = measure_private(setting)
            for name, seconds in samples.items():
                seconds[side].append(found.nbytes / getattr(found, name))
    return [
        Line(NAME, *_WHAT[name], found[OUTLIVE], found[RAY], note=_NOTE, pages=LARGE) for name, found in samples.items()
    ]
