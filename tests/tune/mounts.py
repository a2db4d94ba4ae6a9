"""The body of `test_mounts`: run in a mount namespace of its own, where it may mount and remount."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import TuneRefused
from outlive.tune.mount import mount_of, remount
from outlive.tune.record import Change, apply, undo

MIB = 1 << 20


def mounted(folder: Path, options: str) -> str:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "outlive-test", folder], check=True)
    return str(folder)


def flags(folder: str) -> str:
    """Of the mount, and not of its file system."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(fields[5] for fields in reversed(lines) if fields[4] == folder.replace(" ", "\\040"))


def body(base: Path) -> None:
    record = base / "record.json"
    memory = mounted(base / "a folder", "size=64m,nr_inodes=5000")
    root = f"{memory}/not/there/yet"
    found = mount_of(root)
    assert (found.folder, found.kind, found.huge, found.size) == (memory, "tmpfs", "never", 64 * MIB)
    assert (found.inodes, found.free_inodes) == (5000, 4999)
    shelf = Shelf(f"{memory}/shelf", 32 * MIB)
    old = Writer(shelf).put(np.arange(MIB))

    assert undo(record) == []
    change = apply(root, record)
    assert change == Change(memory, os.stat(memory).st_dev, "never", "within_size")
    assert mount_of(root).huge == "within_size"
    assert record.stat().st_mode & 0o777 == 0o600
    assert apply(root, record) is None  # it is so already
    new = Writer(shelf).put(np.arange(MIB))
    assert all((Reader(shelf).view(info) == np.arange(MIB)).all() for info in (old, new))

    other = mounted(base / "other", "size=8m,huge=advise")
    assert apply(other, record) is not None
    assert [one.folder for one in undo(record)] == [other, memory]
    assert (mount_of(memory).huge, mount_of(other).huge) == ("never", "advise")
    assert not record.exists()
    assert undo(record) == []

    apply(memory, record)
    remount(memory, "always")  # somebody else's choice since
    assert undo(record) == []
    assert mount_of(memory).huge == "always"
    assert apply(memory, record) is None

    apply(other, record)
    mounted(Path(other), "size=8m,huge=within_size")  # another mount in its place, which nobody tuned
    assert undo(record) == []
    assert mount_of(other).huge == "within_size"

    fstab = base / "fstab"
    fstab.write_text(f"outlive-test {memory.replace(' ', chr(92) + '040')} tmpfs size=16m,noexec 0 0\n")
    os.environ["LIBMOUNT_FSTAB"] = str(fstab)  # which mount(8) would add to what it is told
    before = mount_of(memory)
    remount(memory, "within_size")
    after = mount_of(memory)
    assert (after.size, after.huge) == (before.size, "within_size")
    assert flags(memory) == "rw,relatime", "only the huge pages were to change"

    with pytest.raises(TuneRefused, match="huge=nonsense"):
        remount(memory, "nonsense")
    shelf.remove()


if __name__ == "__main__":
    base = Path(sys.argv[1])
    try:
        body(base)
    finally:
        for name in ("a folder", "other", "other"):
            subprocess.run(["umount", "-l", base / name], check=False, capture_output=True)
