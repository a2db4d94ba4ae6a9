"""The tail: memory behind the end of a file, on a mount of shared memory with huge pages (`huge=always`).

On such a mount a file takes whole pages of 2 MiB while it is written: 1 KiB takes as much as 2 MiB. The memory behind
its end goes back to the kernel once it is written. Then the file takes as much as the ledger counts: whole pages of 4
KiB.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable

from outlive.arrays.segment import pages

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)
_BLOCK = 512  # bytes that `st_blocks` counts
_FAR = 1 << 30  # bytes behind the end that may take memory


def give_back_tail(fd: int, size: int) -> None:
    """Free the memory of a file of `size` bytes behind its last page. On other mounts there is none."""
    if os.fstat(fd).st_blocks * _BLOCK > pages(size):
        punch = _fallocate()
        if punch is not None:
            punch(fd, _KEEP_SIZE | _PUNCH_HOLE, pages(size), _FAR)  # takes 0.15 ms; an error changes nothing


@functools.lru_cache(1)
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    libc = ctypes.CDLL(None)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)  # musl has only the second name
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    found: Callable[[int, int, int, int], int] = function
    return found
