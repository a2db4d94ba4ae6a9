"""The size of the pages that large files in shared memory get here, found by looking.

A mount's option does not tell: the kernel's own setting may overrule it, a program may have to ask for large pages, and
memory may be too scattered for them. `python -m benchmarks.page_size` prints the size.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import re
import tempfile

from outlive.arrays.draft import allocate
from outlive.arrays.fresh import ask_for_huge_pages

SMALL, LARGE = "4 KiB", "2 MiB"
FOLDER = "/dev/shm"  # which shelves and Ray's object store are in
_SIZE = 8 << 20  # bytes of the file that is looked at


@functools.cache
def pages() -> str:
    """Of files in `FOLDER`, as outlive makes them. Looked up once in a process."""
    return pages_in(FOLDER)


def pages_in(folder: str) -> str:
    """LARGE if most of a new file is mapped by large pages, else SMALL."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(_SIZE)
            ask_for_huge_pages(file.fileno(), _SIZE)
            allocate(file.fileno(), _SIZE)
            with mmap.mmap(file.fileno(), _SIZE) as made:
                for offset in range(0, _SIZE, mmap.PAGESIZE):
                    made[offset] = 1
                address = ctypes.addressof(ctypes.c_char.from_buffer(made))
                return LARGE if in_large_pages(address) > _SIZE // 2 else SMALL
    except OSError:  # no such folder, as on macOS, or no room in it
        return SMALL


def in_large_pages(address: int) -> int:
    """Bytes of the map at this address that this process sees through pages of 2 MiB. Source: proc_pid_smaps(5)."""
    found = False
    with open("/proc/self/smaps", errors="replace") as file:
        for line in file:
            if limits := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                found = int(limits[1], 16) <= address < int(limits[2], 16)
            elif found and line.startswith("ShmemPmdMapped:"):
                return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    print(pages_in(FOLDER))
