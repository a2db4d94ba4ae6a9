"""File systems that are really full: small ones are mounted, and the kernel itself says ENOSPC at every step.

`test_spill_faults` fails each call on purpose, and EDQUOT is simulated there only: a quota on a tmpfs needs a kernel
with CONFIG_TMPFS_QUOTA, one on ext4 a kernel with CONFIG_QFMT_V2, and both a user other than root.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .full_disks import CASES

REPOSITORY = Path(__file__).parents[2]
AS_ROOT = ("unshare", "--mount", "--propagation", "private")
AS_USER = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
PROBE = "mount -t tmpfs -o size=1m,nr_inodes=50,mode=700 probe /tmp"


@functools.cache
def namespace() -> tuple[tuple[str, ...], str]:
    """How a process gets a mount namespace here in which it may mount; and why not, if not."""
    said = "this is not Linux" if sys.platform != "linux" else "there is no unshare(1)"
    for command in (AS_ROOT, AS_USER) if sys.platform == "linux" and shutil.which("unshare") else ():
        probe = subprocess.run([*command, "sh", "-c", PROBE], capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            return command, ""
        said = probe.stderr.strip()
    return (), f"no file system can be mounted here: {said}"


@pytest.mark.parametrize("case", CASES)
def test_full(root: Path, case: str) -> None:
    command, why_not = namespace()
    if not command:
        pytest.skip(why_not)
    loops = shutil.which("mkfs.ext4") and os.path.exists("/dev/loop0")
    if case == "disk is ext4" and not (command == AS_ROOT and loops):
        pytest.skip("an ext4 file system in a file needs root, mkfs.ext4 and loop devices")
    body = [sys.executable, "-m", "tests.arrays.full_disks", root, case]
    done = subprocess.run([*command, *body], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    stories, failures = map(int, done.stdout.split())
    assert stories > 5 and failures > 10, "or it has proved little"
