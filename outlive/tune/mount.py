"""A mount of shared memory: its size and options, and how to change its huge pages.

Source: tmpfs(5), Documentation/admin-guide/mm/transhuge.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from outlive.arrays.huge import KERNEL
from outlive.arrays.limits import existing
from outlive.errors import TuneRefused

IN_MEMORY = "tmpfs"
_OCTAL = re.compile(r"\\([0-7]{3})")  # as mountinfo writes blanks
_SECONDS = 20.0  # for mount(8)


class Mount(NamedTuple):
    """A mounted file system. Sizes are in bytes."""

    folder: str  # where it is mounted
    kind: str  # its type, such as "tmpfs"
    options: tuple[str, ...]
    size: int
    free: int
    inodes: int  # 0: no limit
    free_inodes: int
    flags: tuple[str, ...] = ()
    """The options of this mount alone, such as noexec. Empty: not known."""

    @property
    def huge(self) -> str:
        """When its files get huge pages: never, advise, within_size or always. For "never" the kernel has no option."""
        return next((option[5:] for option in self.options if option.startswith("huge=")), "never")


def mount_of(path: str) -> Mount:
    """The mount that `path` is on; if there is no such path yet, the mount that it would be on."""
    folder = existing(path)
    device = os.stat(folder).st_dev
    wanted, found = f"{os.major(device)}:{os.minor(device)}", ("/", "unknown", tuple[str, ...]())
    flags: tuple[str, ...] = ()
    with contextlib.suppress(OSError), open("/proc/self/mountinfo") as file:  # macOS has none
        for line in file:
            fields = line.rstrip("\n").split(" ")  # a mount's source may be empty
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            if fields[2] == wanted and f"{os.path.realpath(folder)}/".startswith(f"{point.rstrip('/')}/"):
                kind, _, options = fields[fields.index("-") + 1 :]
                found = point, kind, tuple(options.split(","))  # of several at one place, the last is on top
                flags = tuple(fields[5].split(","))
    system = os.statvfs(folder)
    block = system.f_frsize
    return Mount(*found, system.f_blocks * block, system.f_bavail * block, system.f_files, system.f_favail, flags)


def huge_page() -> int:
    """The size of a huge page, in bytes; 0 if the kernel has none."""
    try:
        return int(Path(KERNEL, "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def fstab_line(mount: Mount, huge: str) -> str:
    """The line of /etc/fstab for a tmpfs as it is now, with huge pages. Limits, owner and noexec stay. See fstab(5)."""
    shown = dict.fromkeys((*(mount.flags or ("rw", "nosuid", "nodev")), *mount.options))
    ours = ("size=", "huge=", "seclabel")  # the last is what SELinux says of it, and no option
    kept = [one for one in shown if not one.startswith(ours)]
    folder = re.sub(r"[\s\\]", lambda match: f"\\{ord(match[0]):03o}", mount.folder)
    return f"tmpfs {folder} tmpfs {','.join([*kept, f'size={mount.size >> 10}k', f'huge={huge}'])} 0 0"


def remount_command(folder: str, huge: str) -> list[str]:
    """The command that changes when the files of a mount get huge pages."""
    # Without a source, mount(8) adds what /etc/fstab has for the folder: another size, or no programs.
    return ["mount", "--options-source", "mtab", "-o", f"remount,huge={huge}", folder]


def remount(folder: str, huge: str) -> None:
    """Change when the files of a mount get huge pages. Files that exist already stay as they are.

    Raises
    ------
    TuneRefused
        This process is not allowed to, or the system cannot.
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
