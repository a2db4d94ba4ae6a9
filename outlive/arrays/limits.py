"""Limits: how much memory and disk there is, and how much of it a shelf takes unless told otherwise.

docs/memory.md tells users how these are computed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from outlive.errors import OutliveError
from outlive.units import parse_size

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG}
"""The errors of a system without room."""


def is_of_handler(error: BaseException) -> bool:
    """Whether an error is a signal handler's TimeoutError, say: it is the caller's, and has no number of the system.

    Errors of outlive's own have none either, and some of those that say that a file is not there.
    """
    ours = OutliveError, FileNotFoundError
    return isinstance(error, OSError) and error.errno is None and not isinstance(error, ours)


_CGROUPS = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"
_MEMINFO = "/proc/meminfo"
_MEMORY = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By the version of cgroups: the files with the limit of memory and its use, and what of that can be dropped."""
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


def memory_limit() -> int:
    """Bytes of memory that this process may use: all memory, or the smallest limit of its cgroup and those above."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder, version in cgroups("memory"):
        with contextlib.suppress(OSError, ValueError):  # this cgroup version is not there, or the limit is "max"
            limits.append(_number(f"{folder}/{_MEMORY[version][0]}"))
    return min(limit for limit in limits if limit > 0)


def memory_left() -> int:
    """Bytes that this process may still take without taking them from others, on the machine and by its cgroups.

    Files that were read and can be dropped are no use of memory. Source: proc_meminfo(5), "MemAvailable";
    Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, "memory.stat".
    """
    left = [memory_limit()]
    with contextlib.suppress(OSError, ValueError):
        left.append(_entry(_MEMINFO, "MemAvailable:") << 10)
    for folder, version in cgroups("memory"):
        limit, used, droppable = _MEMORY[version]
        with contextlib.suppress(OSError, ValueError):
            dropped = _entry(f"{folder}/memory.stat", droppable)
            left.append(_number(f"{folder}/{limit}") - _number(f"{folder}/{used}") + dropped)
    return max(0, min(left))


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def _entry(path: str, name: str) -> int:
    """The number behind a name in a file of names and numbers. Raises ValueError: it has no such name."""
    with open(path) as file:
        for line in file:
            words = line.split()
            if words[:1] == [name]:
                return int(words[1])
    raise ValueError(name)


def cgroups(controller: str) -> Iterator[tuple[str, int]]:
    """The folders that may limit this process, for cgroup versions 2 and 1; each with its version.

    A container may see its own cgroup as the root, while the kernel names it from the machine's. Source: cgroups(7),
    "/proc/[pid]/cgroup"; proc_pid_mountinfo(5), "root".
    """
    tops = {2: _CGROUPS, 1: f"{_CGROUPS}/{controller}"}
    for version, top in tops.items():
        yield top, version
    for number, controllers, own in _memberships():
        if not _limits(number, controllers, controller):
            continue
        version = 2 if number == "0" else 1
        root = _mounted().get(os.path.realpath(tops[version]), "").rstrip("/")
        folder = own.removeprefix(root) if f"{own}/".startswith(f"{root}/") else own
        while folder := folder.rstrip("/"):
            yield f"{tops[version]}{folder}", version
            folder = folder.rpartition("/")[0]


@functools.lru_cache(1)
def _mounted() -> dict[str, str]:
    """By where a file system of cgroups is mounted: the cgroup that is seen there."""
    try:
        with open("/proc/self/mountinfo", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return {}
    return {fields[4]: fields[3] for fields in mounts if fields[fields.index("-") + 1].startswith("cgroup")}


def own_cgroup() -> str:
    """This process's cgroup that may limit its memory: of version 1 if that has it, else of 2; empty if unknown."""
    found = {
        number == "0": own for number, controllers, own in _memberships() if _limits(number, controllers, "memory")
    }
    return found.get(False, found.get(True, ""))


def _limits(number: str, controllers: str, controller: str) -> bool:
    return number == "0" or controller in controllers.split(",")


def _memberships() -> list[list[str]]:
    """The lines of /proc/self/cgroup: number, controllers, and the cgroup, whose name may have colons."""
    try:
        with open(_OWN, errors="replace") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    return [line for line in lines if len(line) == 3]


def default_spill_folder(root: str) -> str | None:
    """The folder that a shelf below `root` spills to unless told otherwise; None if there is no disk, or no need.

    It is below the folder for temporary files, or below /var/tmp if that folder is memory too. `OUTLIVE_SPILL_TO` names
    another. A root that is on disk already spills nowhere.
    """
    if chosen := os.environ.get("OUTLIVE_SPILL_TO"):
        return os.path.abspath(chosen)
    if not is_in_memory(root):
        return None
    for folder in (tempfile.gettempdir(), "/var/tmp"):
        if os.access(folder, os.W_OK) and not is_in_memory(folder):
            return f"{folder}/outlive-{os.geteuid()}-spill"
    return None


def default_disk_budget(folder: str) -> int:
    """Bytes that may be spilled to `folder`, or one that will be made there: half of what its file system has free.

    `OUTLIVE_DISK` names another number, as in "200GiB"; 0 spills nothing.
    """
    if chosen := os.environ.get("OUTLIVE_DISK"):
        return parse_size(chosen, "OUTLIVE_DISK", least=0)
    system = os.statvfs(existing(folder))
    return system.f_bavail * system.f_frsize // 2


def is_in_memory(path: str) -> bool:
    """Whether the file system of `path` is in memory and not on disk (proc(5), /proc/[pid]/mountinfo)."""
    try:
        device = os.stat(existing(path)).st_dev
        with open("/proc/self/mountinfo", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(mount[mount.index("-") + 1] in _IN_MEMORY for mount in mounts if mount[2] == wanted)


class Inodes(NamedTuple):
    """How many files a file system may have."""

    all: int
    free: int


def inodes(path: str) -> Inodes | None:
    """The limit of the file system at `path`; None if it has none."""
    try:
        system = os.statvfs(path)
    except OSError:
        return None
    return Inodes(system.f_files, system.f_favail) if system.f_files else None


def mount_of(path: str) -> str:
    """The folder that the file system of `path` is mounted at."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


_PER_FILE = 1050  # bytes of inode and directory entry, on tmpfs (measured, Linux 6.18)
_ENTRY = 20  # bytes that tmpfs says a folder takes for each name in it (BOGO_DIRENT_SIZE, mm/shmem.c)


def number_of_files(folder: str) -> int:
    """The number of names in a folder. One in memory is not listed for that: a million names take half a second."""
    try:
        status = os.stat(folder)
        if status.st_dev in _memory_devices():
            return status.st_size // _ENTRY - 2  # `.` and `..`
        return len(os.listdir(folder))
    except FileNotFoundError:
        return 0


def kernel_bytes(*folders: str) -> int:
    """About how many bytes the kernel takes for the files in these folders, beside their content."""
    return _PER_FILE * sum(map(number_of_files, folders))


@functools.lru_cache(1)
def _memory_devices() -> frozenset[int]:
    """The device numbers of all tmpfs; none if that is not known."""
    try:
        with open("/proc/self/mountinfo", errors="replace") as file:
            mounts = [line.split() for line in file]
        devices = [mount[2].split(":") for mount in mounts if mount[mount.index("-") + 1] == "tmpfs"]
        return frozenset(os.makedev(int(major), int(minor)) for major, minor in devices)
    except (OSError, ValueError):
        return frozenset()


def existing(path: str) -> str:
    """The nearest folder above `path`, or itself, that exists."""
    path = os.path.abspath(path)
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path
