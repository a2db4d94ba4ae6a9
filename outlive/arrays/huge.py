"""Huge pages of a mount that gives them where a program asks for them (`huge=advise`).

Source: madvise(2), Documentation/admin-guide/mm/transhuge.rst.
"""

from __future__ import annotations

import functools
import mmap
import os
import re

KERNEL = "/sys/kernel/mm/transparent_hugepage"
_LEAST = 2 << 20  # bytes: smaller segments have no huge page


def asked(fd: int, size: int) -> bool:
    """Whether a new file of this size is to ask for huge pages: its mount gives them then, and the kernel allows it."""
    return size >= _LEAST and _gives_if_asked(os.fstat(fd).st_dev) and kernel_setting() != "deny"


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
