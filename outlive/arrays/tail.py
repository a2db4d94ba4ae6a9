"""The tail: memory behind the end of a file, on a mount of shared memory with huge pages (`huge=always`).

There a file takes whole pages of 2 MiB while it is written: 1 KiB takes as much as 2 MiB do. What is behind its end
goes back to the kernel once it is written, so that a file takes what the ledger counts: whole pages of 4 KiB.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable

from outlive.arrays.segment import pages

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)
_BLOCK = 512  # bytes that `st_blocks` counts
_FAR = 1 << 30  # bytes behind the end that may have memory


def give_back_tail(fd: int, size: int) -> None:
    """Free what a file of `size` bytes takes behind its last page. Elsewhere than on such a mount it takes nothing."""
    if os.fstat(fd).st_blocks * _BLOCK > pages(size):
        punch = _fallocate()
        if punch is not None:
            punch(fd, _KEEP_SIZE | _PUNCH_HOLE, pages(size), _FAR)  # 0.15 ms; an error leaves it as it was


@functools.lru_cache(1)
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    libc = ctypes.CDLL(None)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)  # musl has only the latter
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    found: Callable[[int, int, int, int], int] = function
    return found
