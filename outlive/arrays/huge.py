"""Huge pages of shared memory: those of a mount that gives them, by itself or where a program asks (`huge=advise`).

Source: madvise(2), Documentation/admin-guide/mm/transhuge.rst.
"""

from __future__ import annotations

import functools
import mmap
import os
import re

KERNEL = "/sys/kernel/mm/transparent_hugepage"
_LEAST = 2 << 20  # bytes: smaller segments have no huge page
_GIVE = frozenset({"always", "within_size", "advise"})


def asked(fd: int, size: int) -> bool:
    """Whether a new file of this size is to ask for huge pages: its mount gives them then, and the kernel allows it."""
    return _may_have(size) and _option(os.fstat(fd).st_dev) == "advise" and kernel_setting() != "deny"


def given(fd: int, size: int) -> bool:
    """Whether a new file of this size has huge pages, if it asks for them where it has to, and there are some."""
    if not _may_have(size):
        return False
    setting = kernel_setting()
    return setting == "force" or (setting != "deny" and _option(os.fstat(fd).st_dev) in _GIVE)


def kernel_setting() -> str | None:
    """The kernel's own setting for huge pages in shared memory, such as "never", "deny" or "force"; None: no such."""
    try:
        with open(f"{KERNEL}/shmem_enabled") as file:
            found = re.search(r"\[(\w+)\]", file.read())
    except OSError:
        return None
    return found[1] if found else None


def _may_have(size: int) -> bool:
    return size >= _LEAST and hasattr(mmap, "MADV_HUGEPAGE")


@functools.lru_cache(64)
def _option(device: int) -> str | None:
    """The option `huge=` with which the file system with this device number is mounted; None: without one."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    options = (option for mount in mounts if mount[2] == wanted for option in mount[-1].split(","))
    return next((option.removeprefix("huge=") for option in options if option.startswith("huge=")), None)
