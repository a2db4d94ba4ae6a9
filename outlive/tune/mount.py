"""A mount of shared memory: what it gives, and a change of its huge pages.

Source: tmpfs(5), Documentation/admin-guide/mm/transhuge.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from outlive.arrays.limits import existing
from outlive.errors import TuneRefused

IN_MEMORY = "tmpfs"
_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
_OCTAL = re.compile(r"\\([0-7]{3})")  # as mountinfo writes blanks
_SECONDS = 20.0  # for mount(8)


class Mount(NamedTuple):
    """What is mounted at a folder. Bytes."""

    folder: str
    kind: str  # the file system, as "tmpfs"
    options: tuple[str, ...]  # of the file system
    size: int
    free: int
    inodes: int  # 0: no limit
    free_inodes: int

    @property
    def huge(self) -> str:
        """When its files take huge pages: never, advise, within_size or always. The kernel does not write "never"."""
        return next((option[5:] for option in self.options if option.startswith("huge=")), "never")


def mount_of(path: str) -> Mount:
    """The mount that `path` is on, or will be once it is made."""
    folder = existing(path)
    device = os.stat(folder).st_dev
    wanted, found = f"{os.major(device)}:{os.minor(device)}", ("/", "unknown", tuple[str, ...]())
    with contextlib.suppress(OSError), open("/proc/self/mountinfo") as file:  # macOS has none
        for line in file:
            fields = line.rstrip("\n").split(" ")  # a mount's source may be empty
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            if fields[2] == wanted and f"{os.path.realpath(folder)}/".startswith(f"{point.rstrip('/')}/"):
                kind, _, options = fields[fields.index("-") + 1 :]
                found = point, kind, tuple(options.split(","))  # the last one is on top
    system = os.statvfs(folder)
    block = system.f_frsize
    return Mount(*found, system.f_blocks * block, system.f_bavail * block, system.f_files, system.f_favail)


def kernel_setting() -> str | None:
    """What the kernel says of huge pages in shared memory, as "never", "deny" or "force"; None if it has none."""
    try:
        found = re.search(r"\[(\w+)\]", (_PAGES / "shmem_enabled").read_text())
    except OSError:
        return None
    return found[1] if found else None


def huge_page() -> int:
    """Bytes of a huge page; 0 if the kernel has none."""
    try:
        return int((_PAGES / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def remount_command(folder: str, huge: str) -> list[str]:
    """The command that changes when the files of a mount take huge pages."""
    return ["mount", "-o", f"remount,huge={huge}", folder]


def remount(folder: str, huge: str) -> None:
    """Change when the files of a mount take huge pages. Those that are there stay as they are.

    Raises
    ------
    TuneRefused
        The system does not let this process, or does not know how.
    """
    command = remount_command(folder, huge)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuneRefused(f"{' '.join(command)}: {error}") from None
    now = mount_of(folder).huge
    if done.returncode or now != huge:
        said = done.stderr.strip() or f"mount said nothing, and it is huge={now} still"
        raise TuneRefused(f"{' '.join(command)}: {said}")
