"""What a node's shared memory gives now, and its limits on files and maps."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import NamedTuple

from outlive.arrays.limits import memory_limit
from outlive.arrays.root import default_root
from outlive.tune.mount import Mount, huge_page, kernel_setting, mount_of


class Facts(NamedTuple):
    """Sizes are bytes."""

    root: str  # where outlive keeps arrays here
    mount: Mount
    kernel_setting: str | None  # see `mount.kernel_setting`
    huge_page: int  # 0: the kernel has none
    descriptors: int  # that a process may open at most
    maps: int | None  # that a process may have; None: not known
    memory: int  # that processes here may use, by the machine or a cgroup


def look() -> Facts:
    """At this machine, as this process sees it."""
    root = default_root()[0]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return Facts(root, mount_of(root), kernel_setting(), huge_page(), hard, _maps(), memory_limit())


def _maps() -> int | None:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return None
