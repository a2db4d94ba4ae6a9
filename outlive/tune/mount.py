"""A mount of shared memory: its size and options, and how to change its huge pages.

Source: tmpfs(5), Documentation/admin-guide/mm/transhuge.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from outlive.arrays.huge import KERNEL
from outlive.arrays.limits import existing
from outlive.errors import OutliveError, TuneRefused

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
    wanted = [size_option(mount.size), huge_option(huge)]
    return f"tmpfs {in_fstab(mount.folder)} tmpfs {','.join([*kept, *wanted])} 0 0"


def in_fstab(folder: str) -> str:
    """A folder as /etc/fstab has it, with no blank."""
    return re.sub(r"[\s\\]", lambda match: f"\\{ord(match[0]):03o}", folder)


def huge_option(huge: str) -> str:
    """The option of a mount that says when its files get huge pages."""
    return f"huge={huge}"


def size_option(size: int) -> str:
    """The option of a mount that says how many bytes its files may have in all."""
    return f"size={size >> 10}k"


def remount_command(folder: str, option: str) -> list[str]:
    """The command that changes one option of a mount."""
    # Without a source, mount(8) adds what /etc/fstab has for the folder: another size, or no programs.
    return ["mount", "--options-source", "mtab", "-o", f"remount,{option}", folder]


def remount(folder: str, huge: str) -> None:
    """Change when the files of a mount get huge pages. Files that exist already stay as they are.

    Raises
    ------
    TuneRefused
        This process is not allowed to, or the system cannot.
    """
    command = remount_command(folder, huge_option(huge))
    shown = shlex.join(command)
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=in_english()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuneRefused(f"{shown}: {in_words(error)}") from None
    now = mount_of(folder).huge
    if done.returncode or now != huge:
        words = said(done.stderr) if done.stderr.strip() else f"mount said nothing, and it is huge={now} still"
        denied = "denied" in words or "superuser" in words
        ways = ". That takes root, and in a container one that is privileged; `outlive tune` shows other ways"
        raise TuneRefused(f"{shown}: {words}{ways if denied else ''}")


def said(errors: str) -> str:
    """The reason that mount(8), unshare(1) or a shell gives for its failure: its last line but the hint at dmesg(1)."""
    lines = [line.strip() for line in errors.splitlines() if line.strip() and "dmesg(1)" not in line]
    return lines[-1].rstrip(".") if lines else "nothing was said"


def in_words(error: Exception) -> str:
    """Why something was not measured, or a command not run to its end: no number of the system, no command again."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not end within {error.timeout:.0f} s"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, OutliveError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or "there is too little memory to measure in"


def in_english() -> dict[str, str]:
    """The environment of a command whose errors are looked at."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}
