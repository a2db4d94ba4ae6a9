"""Facts about a node: its shared memory as it is now, and the limits on open files and on maps."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import NamedTuple

from outlive.arrays.cores import usable
from outlive.arrays.huge import kernel_setting
from outlive.arrays.limits import memory_limit, own_cgroup
from outlive.arrays.root import SHARED_MEMORY, default_root
from outlive.tune.mount import Mount, huge_page, mount_of


class Facts(NamedTuple):
    """The facts. Sizes are in bytes."""

    root: str  # the folder in which outlive keeps arrays here
    mount: Mount  # the mount of that folder
    kernel_setting: str | None  # see `huge.kernel_setting`
    huge_page: int  # the size of a huge page; 0: the kernel has none
    descriptors: int  # the most files that a process may open; -1: no limit
    maps: int | None  # the most maps that a process may have; None: unknown
    memory: int  # the memory that processes may use, by the machine or by a cgroup
    cores: float = 0.0  # that this process may use, by its affinity or by the quota of a cgroup; 0: not known
    cgroup: str = ""  # see `limits.own_cgroup`
    why_on_disk: str | None = None  # see `root.default_root`
    shared_memory: Mount | None = None  # the mount of /dev/shm; None: there is no such folder


def look() -> Facts:
    """The facts of this machine, as this process sees it."""
    root, why = default_root()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    mount, pages = mount_of(root), huge_page()
    shared = mount_of(SHARED_MEMORY) if os.path.isdir(SHARED_MEMORY) else None
    return Facts(
        root, mount, kernel_setting(), pages, hard, _maps(), memory_limit(), usable(), own_cgroup(), why, shared
    )


def _maps() -> int | None:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return None
