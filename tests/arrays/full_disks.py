"""The body of `test_full_disks`: mounts small file systems, and fills them until the kernel itself says no.

Run as a process of its own in a mount namespace of its own, so that nothing of it is left, however it ends:

    unshare --mount --propagation private python -m tests.arrays.full_disks <folder> <case>
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull

from .conftest import MIB
from .story import Story

PAGE = 4096
SIZES = {"memory": 4 * MIB, "disk": 16 * MIB}  # more than the budgets, so that only the ballast makes them full
CASES = ("memory", "disk", "both", "memory's inodes", "disk's inodes", "disk is ext4")


def mount(base: Path, case: str) -> None:
    for name, size in SIZES.items():
        (base / name).mkdir()
        if name == "disk" and case == "disk is ext4":
            image = base / "image"
            with image.open("wb") as file:
                file.truncate(2 * size)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-b", str(PAGE), image], check=True)
            subprocess.run(["mount", "-o", "loop", image, base / name], check=True)
            (base / name).chmod(0o700)
        else:
            options = f"size={size},nr_inodes=200,mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "outlive-test", base / name], check=True)


class Ballast:
    """Leaves a file system no more than so many free pages, or inodes."""

    def __init__(self, folder: Path, *, pages: int | None = None, inodes: int | None = None) -> None:
        self.folder = folder / "ballast"
        self.folder.mkdir()
        if pages is not None:
            fd = os.open(self.folder / "pages", os.O_RDWR | os.O_CREAT)
            if (rest := os.statvfs(folder).f_bavail - pages) > 0:
                os.posix_fallocate(fd, 0, rest * PAGE)
            os.close(fd)
        if inodes is not None:
            for number in range(os.statvfs(folder).f_favail - inodes):
                (self.folder / str(number)).touch()

    def drop(self) -> None:
        shutil.rmtree(self.folder)


def load(base: Path, case: str, left: int) -> list[Ballast]:
    """Fill up what this case is about but for `left` pages or inodes."""
    if case.endswith("inodes"):
        return [Ballast(base / case.partition("'")[0], inodes=left)]
    full = {"both": ("memory", "disk"), "disk is ext4": ("disk",)}.get(case, (case,))
    return [Ballast(base / name, pages=left) for name in full]


def steps(case: str) -> Iterator[int]:
    """How much is left: each single page or inode at first, and then odd numbers of pages."""
    if case.endswith("inodes"):
        return itertools.count()
    return itertools.chain(range(6), itertools.count(6, 53))


def du(shelf: Shelf) -> None:
    """The ledger says what `du` says, of memory and of the disk if that is a tmpfs; folders take nothing there."""
    for tier, used in ((shelf, shelf.ledger.used), (shelf.disk, shelf.ledger.disk.used)):
        if tier is not None and os.statvfs(tier.mem).f_files < 1000:
            folders = [tier.mem, tier.new, tier.pool.folder]
            said = subprocess.run(["du", "-s", "-B1", *folders], check=True, capture_output=True, text=True).stdout
            assert sum(int(line.split()[0]) for line in said.splitlines()) == used, f"{said} but {used} in the ledger"


def story_of(base: Path, case: str, left: int) -> int:
    """One story on file systems that are that full; returns how often something failed in it."""
    ballast = load(base, case, left)
    try:
        story = Story(base)
    except (StoreFull, OSError):
        failures = 1
        for one in ballast:
            one.drop()
        story = Story(base)  # in the same folder, whatever is there
        Writer(story.shelf).put(np.zeros(3))
        assert len(story.shelf.ids()) == 1
    else:
        story.run()
        story.compute_checksums()
        du(story.shelf)
        story.verify()  # also that deleting needs no room
        du(story.shelf)
        failures = story.failures
        for one in ballast:
            one.drop()
        for number in range(4):
            story.put(number)
        assert story.failures == failures, "there is room again"
        story.verify()
    story.shelf.remove()
    for name in SIZES:
        for path in (base / name).iterdir():
            if path.name != "lost+found":
                shutil.rmtree(path)
    return failures


def spill_folder_without_room(base: Path) -> None:
    """A folder on disk that cannot be made is said to whoever asked for it."""
    ballast, shelf = Ballast(base / "disk", inodes=0), Shelf(str(base / "memory" / "shelf"))
    with pytest.raises(ValueError, match="cannot spill to .*No space left"):
        apply(Settings.of("2MiB", "8MiB", str(base / "disk" / "spill")), shelf, str(base / "memory"), "c", "n")
    ballast.drop()
    shelf.remove()


def main(base: Path, case: str) -> None:
    mount(base, case)
    if case == "disk's inodes":
        spill_folder_without_room(base)
    stories = failures = 0
    for left in steps(case):
        failed = story_of(base, case, left)
        stories, failures = stories + 1, failures + failed
        if not failed:
            break
    print(stories, failures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
