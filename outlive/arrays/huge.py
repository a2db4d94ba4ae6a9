"""Huge pages of a mount that gives them where a program asks for them (`huge=advise`).

`write(2)` cannot ask. So the memory of a new segment is mapped there, asked for, and allocated before anything is
written: too little is an error of madvise(2) then, and not a SIGBUS.

Source: madvise(2), Documentation/admin-guide/mm/transhuge.rst.
"""

from __future__ import annotations

import functools
import mmap
import os
import re

KERNEL = "/sys/kernel/mm/transparent_hugepage"
_LEAST = 2 << 20  # bytes: smaller segments have no huge page
_STEP = 64 << 20  # bytes that are allocated at a time: Python's own lock is held meanwhile
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, from Linux 5.14 on


def allocated(fd: int, size: int) -> mmap.mmap | None:
    """All of a new file, mapped, with its memory allocated, in huge pages as far as the kernel has some.

    None if the mount is not of this kind, the kernel denies huge pages, or memory for all of it cannot be had in this
    way. Then some of the file may have memory.
    """
    if size < _LEAST or not _gives_if_asked(os.fstat(fd).st_dev) or kernel_setting() == "deny":
        return None
    try:
        made = mmap.mmap(fd, size)
        made.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, size, _STEP):
            made.madvise(_POPULATE_WRITE, start, min(_STEP, size - start))
    except (OSError, ValueError):
        return None
    return made


def kernel_setting() -> str | None:
    """The kernel's own setting for huge pages in shared memory, such as "never", "deny" or "force"; None: no such."""
    try:
        with open(f"{KERNEL}/shmem_enabled") as file:
            found = re.search(r"\[(\w+)\]", file.read())
    except OSError:
        return None
    return found[1] if found else None


@functools.lru_cache(64)
def _gives_if_asked(device: int) -> bool:
    """Whether the file system with this device number is mounted with `huge=advise`."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return False
    return any(mount[2] == wanted and "huge=advise" in mount[-1].split(",") for mount in mounts)
