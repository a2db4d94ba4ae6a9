"""Cores: how many of the processor's a process may use, and how many nobody uses now."""

from __future__ import annotations

import os

from outlive.arrays.limits import cgroups

_LOAD = "/proc/loadavg"  # its fourth field: threads that run or could, of all threads


def usable() -> float:
    """The cores that this process may use, by its affinity and by the quotas of its cgroup and those above."""
    return min([float(_affinity()), *_quotas()])


def idle() -> int:
    """The cores that this process may use and nobody uses now, that of the calling thread included: at least 1."""
    most = int(usable())
    return max(1, min(most, (os.cpu_count() or 1) - _others())) if most > 1 else 1


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> list[float]:
    """Cores, by cgroups(7): `cpu.max` of version 2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1."""
    found = []
    for folder, version in cgroups("cpu"):
        names = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        try:
            quota, period = (int(word) for name in names for word in _text(f"{folder}/{name}").split())
        except (OSError, ValueError):  # this version is not there, or the quota is "max"
            continue
        if quota > 0 and period > 0:
            found.append(quota / period)
    return found


def _others() -> int:
    """How many other threads run on this machine, or wait for a core; 0 if the system does not say."""
    try:
        return max(0, int(_text(_LOAD).split()[3].partition("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return 0


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
