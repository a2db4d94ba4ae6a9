"""Fresh memory: a new segment is mapped, and several threads allocate its memory before anything is written.

`write(2)` has one thread, as it locks the file. A thread that allocates pages is slowest where the machine is a virtual
one whose host has yet to give it the memory. So a large array is written in this way if cores are idle. `write(2)`
cannot ask for huge pages either: see `huge`.

Too little memory is an error of madvise(2) here, and not a SIGBUS later.

Source: madvise(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Iterator

from outlive.arrays import huge

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, from Linux 5.14 on
_PIECE = 4 << 20  # bytes that a thread allocates at a time


class NotAllocated(Exception):
    """This memory cannot be had, or not in this way."""


class Fresh:
    """All of a new file, mapped.

    Raises
    ------
    NotAllocated
        The file cannot be mapped.
    """

    def __init__(self, fd: int, size: int) -> None:
        try:
            self.map = mmap.mmap(fd, size)
            if huge.asked(fd, size):
                self.map.madvise(mmap.MADV_HUGEPAGE)
        except (OSError, ValueError) as error:
            raise NotAllocated(str(error)) from error
        self._hold = (ctypes.c_char * size).from_buffer(self.map)  # nobody unmaps it while a thread allocates
        self._address, self._size = ctypes.addressof(self._hold), size

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Where each piece begins and ends."""
        for begin in range(0, self._size, _PIECE):
            yield begin, min(begin + _PIECE, self._size)

    def allocate(self, begin: int, end: int) -> None:
        """Allocate the memory of these bytes. Others may run meanwhile: Python's own lock is not held.

        Raises
        ------
        NotAllocated
            There is too little memory, or the kernel is too old. Some of it may be allocated.
        """
        begin -= begin % mmap.PAGESIZE
        if _madvise(self._address + begin, end - begin, _POPULATE_WRITE) != 0:
            raise NotAllocated(f"madvise: error {ctypes.get_errno()}")

    def window(self, begin: int, end: int) -> memoryview:
        """These bytes, with their memory. Raises NotAllocated."""
        self.allocate(begin, end)
        return memoryview(self.map)[begin:end]


def ask_for_huge_pages(fd: int, size: int) -> None:
    """Allocate a new file's memory in huge pages where they are given if asked for; elsewhere nothing happens."""
    if huge.asked(fd, size):
        with contextlib.suppress(NotAllocated):  # who writes to it hears of it
            Fresh(fd, size).allocate(0, size)


_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.restype = ctypes.c_int
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
