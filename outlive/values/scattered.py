"""Scattered: one buffer of a value whose bytes are in several places. They are not copied before they are written."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_SMALL = 4096  # bytes: smaller pieces are joined to their neighbours


class Scattered:
    """A sink for a library that writes a stream, and what it wrote. A slice of it is those bytes."""

    closed = False

    def __init__(self) -> None:
        self._whole: list[Array] = []
        self._begins: list[int] = []
        self._small = bytearray()  # what comes after all others
        self._length = 0

    def write(self, memory: Any) -> int:
        """Add bytes. Large ones have to stay as they are: they are not copied."""
        size = len(memory)
        if size < _SMALL:
            self._small += memory
        else:
            self.flush()
            self._add(np.frombuffer(memory, np.uint8))
        self._length += size
        return size

    def flush(self) -> None:
        """Have all bytes in `parts`."""
        if self._small:
            self._add(np.frombuffer(self._small, np.uint8))
            self._small = bytearray()

    def _add(self, part: Array) -> None:
        self._begins.append(self._begins[-1] + self._whole[-1].nbytes if self._whole else 0)
        self._whole.append(part)

    def parts(self) -> list[Array]:
        """The bytes, one part after the other."""
        self.flush()
        return self._whole

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: slice) -> memoryview:
        self.flush()
        begin, end, _ = place.indices(self._length)
        found, first = bytearray(), max(0, bisect_right(self._begins, begin) - 1)
        for at, part in zip(self._begins[first:], self._whole[first:], strict=True):
            if at >= end:
                break
            found += part[max(0, begin - at) : end - at].data
        return memoryview(found)
