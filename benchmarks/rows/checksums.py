"""The checksum of what travels between nodes, beside those of libraries: of pieces that were just copied. No Ray."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cluster import MIB
from benchmarks.line import Line
from benchmarks.timing import OUTLIVE, alternate
from outlive.cluster.checksum import checksum

NAME = "checksums"
ABOUT = "the checksum of 256 MiB that travel, in pieces of 1 MiB that are in the processor's caches: beside others"
_PIECES = 256
_LIBRARIES = {  # name: module, function; those that are not installed are left out
    "CRC-32 of zlib": ("zlib", "crc32"),
    "xxh3 of xxhash": ("xxhash", "xxh3_64_intdigest"),
    "CRC-32C of google-crc32c": ("google_crc32c", "value"),
    "CRC-32C of crc32c": ("crc32c", "crc32c"),
}


def run(quick: bool) -> list[Line]:
    source = memoryview(np.random.default_rng(3).bytes(_PIECES * MIB))
    piece = memoryview(bytearray(MIB))

    def sums(of: Callable[[Any], Any]) -> Callable[[], float]:
        def side() -> float:
            seconds = 0.0
            for begin in range(0, len(source), MIB):
                piece[:] = source[begin : begin + MIB]  # as it arrives
                start = time.perf_counter()
                of(piece)
                seconds += time.perf_counter() - start
            return seconds

        return side

    sides = {name: sums(of) for name, of in {OUTLIVE: checksum, **_found()}.items()}
    alternate(sides, 1)
    samples = alternate(sides, 3 if quick else 9)
    state = "warm: each piece was copied just before, untimed"
    return [
        Line(NAME, f"checksum of {_PIECES} MiB, beside {name}", state, samples[OUTLIVE], samples[name])
        for name in samples
        if name != OUTLIVE
    ]


def _found() -> dict[str, Callable[[Any], Any]]:
    """The functions of the libraries that are installed. Each takes any buffer."""
    found = dict[str, Callable[[Any], Any]]()
    for name, (module, function) in _LIBRARIES.items():
        with contextlib.suppress(ImportError):
            found[name] = getattr(importlib.import_module(module), function)
    with contextlib.suppress(KeyError):
        of = found["CRC-32C of google-crc32c"]
        found["CRC-32C of google-crc32c"] = lambda piece: of(bytes(piece))  # it takes `bytes` alone: one copy more
    return found
