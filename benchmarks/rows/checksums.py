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

_BYTES_ALONE = {"CRC-32C of google-crc32c"}  # it takes no other buffer: its pieces arrive as `bytes`


def run(quick: bool) -> list[Line]:
    source = memoryview(np.random.default_rng(3).bytes(_PIECES * MIB))
    piece = memoryview(bytearray(MIB))

    def arrived(name: str, begin: int) -> Any:
        """A piece in memory that it was just copied to."""
        if name in _BYTES_ALONE:
            return bytes(source[begin : begin + MIB])
        piece[:] = source[begin : begin + MIB]
        return piece

    def sums(name: str, of: Callable[[Any], Any]) -> Callable[[], float]:
        def side() -> float:
            seconds = 0.0
            for begin in range(0, len(source), MIB):
                some = arrived(name, begin)
                start = time.perf_counter()
                of(some)
                seconds += time.perf_counter() - start
            return seconds

        return side

    sides = {name: sums(name, of) for name, of in {OUTLIVE: checksum, **_found()}.items()}
    alternate(sides, 1)
    samples = alternate(sides, 3 if quick else 9)
    state = "warm: each piece was copied just before, untimed"
    return [
        Line(NAME, f"checksum of {_PIECES} MiB, beside {name}", state, samples[OUTLIVE], samples[name])
        for name in samples
        if name != OUTLIVE
    ]


def _found() -> dict[str, Callable[[Any], Any]]:
    """The functions of the libraries that are installed."""
    found = dict[str, Callable[[Any], Any]]()
    for name, (module, function) in _LIBRARIES.items():
        with contextlib.suppress(ImportError):
            found[name] = getattr(importlib.import_module(module), function)
    return found
