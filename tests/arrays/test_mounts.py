"""Mounts of shared memory with huge pages, or with few inodes: what is counted, and what is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .mounts import HUGE
from .test_full_disks import REPOSITORY, namespace

REFUSED = "wrong fs type, bad option"  # as mount(8) says that this kernel has no huge pages


@pytest.mark.parametrize("case", [*HUGE, "inodes", "advised", "threads"])
def test_mount(root: Path, case: str) -> None:
    command, why_not = namespace()
    if not command:
        pytest.skip(why_not)
    base = root / "base"
    base.mkdir(mode=0o700)
    body = [sys.executable, "-m", "tests.arrays.mounts", base, case]
    done = subprocess.run([*command, *body], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100)
    if REFUSED in done.stderr and case not in {"inodes", "threads"}:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
