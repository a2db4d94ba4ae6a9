"""The bodies of `test_mounts`: shelves on mounts of shared memory of all kinds. Run as `full_disks` is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.page_size import in_large_pages
from outlive.arrays import draft as drafts
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import CACHED
from outlive.arrays.reader import Reader
from outlive.arrays.segment import describe, footer, header_of
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer, mapped
from outlive.errors import StoreFull

from .conftest import MIB
from .receiving import fill

HUGE = ("never", "advise", "within_size", "always")


def mounted(folder: Path, options: str) -> Path:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "outlive-test", folder], check=True)
    return folder


def taken(folder: Path) -> int:
    system = os.statvfs(folder)
    return (system.f_blocks - system.f_bfree) * system.f_frsize


def created(shelf: Shelf, count: int) -> ArrayInfo:
    draft = Draft.make(shelf, describe("'|u1'", (count,), count, fortran=False, store="default", key=None, version=1))
    try:
        out = mapped(draft)
    except BaseException:
        draft.discard()
        raise
    out[:] = 1
    draft.detach()
    draft.seal()
    return draft.info


def received(shelf: Shelf, count: int) -> ArrayInfo:
    """The copy of an array of ones, whose bytes two threads receive."""
    info = describe("'|u1'", (count,), count, fortran=False, store="default", key=None, version=1)
    draft = Draft.make(shelf, info, CACHED)
    try:
        fill(draft.target(), header_of(info) + bytes([1]) * count + footer(info))
        draft.verify()
    except BaseException:
        draft.discard()
        raise
    draft.listed_in = shelf.ledger.epoch
    shelf.seal_copy(draft)
    return info


def huge(base: Path, how: str) -> None:
    """The ledger counts what the kernel takes, whichever pages it takes and however an array came about."""
    memory = mounted(base / "memory", f"size=256m,huge={how}")
    shelf = Shelf(str(memory / "shelf"), 128 * MIB)
    shelf.spill_to(str(base / "disk"))
    shelf.ledger.disk.budget = 64 * MIB
    shelf.staging()
    before = taken(memory)

    def exact() -> None:
        assert taken(memory) - before == shelf.ledger.used, (taken(memory) - before, shelf.ledger.used)

    for count in (1, 1000, 4096, 50_000, 400_000, 2 * MIB, 3 * MIB + 5):
        info = Writer(shelf).put(np.ones(count, "u1"))
        exact()
        assert (Reader(shelf).view(info) == 1).all()
        Writer(shelf).put(np.ones((2, count), "u1")[:, ::2])  # in steps
        exact()
        created(shelf, count)
        exact()
        received(shelf, count)
        exact()
    info = Writer(shelf).put(np.ones(400_000, "u1"))
    assert shelf.disk is not None
    spill(shelf, shelf.disk, info.id)
    shelf.pool.trim()
    exact()
    assert promote(shelf, shelf.disk, info.id)
    exact()
    for recycled in (700_000, 500_000, 900_000):
        shelf.delete(Writer(shelf).put(np.ones(recycled, "u1")).id)
        Writer(shelf).put(np.ones(recycled - 100_000, "u1"))
        shelf.pool.trim()
        exact()
    for array_id in shelf.ids():
        shelf.delete(array_id)
    shelf.pool.trim()
    exact()
    assert shelf.ledger.used == 0


def in_huge_pages(array: np.ndarray[Any, Any]) -> int:
    """Bytes of a mapped array that this process sees through huge pages. It reads the array first."""
    assert array.all()
    return in_large_pages(array.__array_interface__["data"][0])


def advised(base: Path) -> None:
    """Where huge pages are given if asked for, they are asked for. Too little room is an error, as elsewhere."""
    gives, count = {}, 16 * MIB
    ways = ("put", "steps", "create", "receive", "promote")
    for how in ("never", "advise", "always"):
        shelf = Shelf(str(mounted(base / how, f"size=96m,huge={how}") / "shelf"), 256 * MIB)
        shelf.spill_to(str(base / "disk" / how))
        shelf.ledger.disk.budget = 64 * MIB
        assert shelf.disk is not None
        for name, data in (("put", np.ones(count, "u1")), ("steps", np.ones((2, count), "u1")[:, ::2])):
            view = Reader(shelf).view(Writer(shelf).put(data))
            assert (view == 1).all()
            gives[how, name] = in_huge_pages(view)
        gives[how, "create"] = in_huge_pages(Reader(shelf).view(created(shelf, count)))
        gives[how, "receive"] = in_huge_pages(Reader(shelf).view(received(shelf, count)))
        moved = Writer(shelf).put(np.ones(count, "u1"))
        spill(shelf, shelf.disk, moved.id)
        shelf.pool.trim()
        assert promote(shelf, shelf.disk, moved.id)
        gives[how, "promote"] = in_huge_pages(Reader(shelf).view(moved))
        del view
        shelf.ledger.disk.budget = 0
        no_room(shelf)
    assert not any(gives["never", name] for name in ways)
    if all(gives["always", name] >= count // 2 for name in ways):  # the kernel has some
        assert all(gives["advise", name] >= count // 2 for name in ways), gives


def no_room(shelf: Shelf) -> None:
    """The file system is full before the budget is: an error, and nothing is left of it."""
    for room in (40, 100):  # MiB: more than is left, more than there is
        with pytest.raises(StoreFull):
            Writer(shelf).put(np.ones(room * MIB, "u1"))
        with pytest.raises(StoreFull):
            created(shelf, room * MIB)
        with pytest.raises(StoreFull):
            received(shelf, room * MIB)
    assert (Reader(shelf).view(Writer(shelf).put(np.full(8 * MIB, 3, "u1"))) == 3).all()
    assert check(shelf) == []


def threads(base: Path) -> None:
    """The same where several threads allocate the memory."""
    drafts.threads = lambda _: 4
    shelf = Shelf(str(mounted(base / "memory", "size=64m") / "shelf"), 256 * MIB)
    for data in (np.ones(16 * MIB, "u1"), np.asfortranarray(np.ones((4096, 2048), "u1"))):
        assert (Reader(shelf).view(Writer(shelf).put(data)) == 1).all()
    no_room(shelf)


def inodes(base: Path) -> None:
    """No more files: the message says so, all else goes on, and with a disk arrays go there."""
    memory = mounted(base / "memory", "size=64m,nr_inodes=200")
    shelf = Shelf(str(memory / "shelf"), 32 * MIB)
    infos = []
    said = ""
    while not said and len(infos) < 500:
        try:
            draft = Writer(shelf).draft_of(np.ones(10), key=f"k{len(infos)}")
            shelf.seal(draft)
            infos.append(draft.info)
        except StoreFull as error:
            said = str(error)
    assert re.search(r"no inodes left, of 200 in all.*nr_inodes=.*/memory$", said)
    assert "raise the budget" not in said
    assert len(infos) > 50
    assert all(Reader(shelf).view(info).sum() == 10 for info in infos)
    shelf.delete(infos[0].id, ("default", "k0"))
    shelf.spill_to(str(base / "disk"))
    shelf.ledger.disk.budget = 64 * MIB
    for _ in range(5):
        assert (Reader(shelf).view(Writer(shelf).put(np.ones(10))) == 1).all()
    assert check(shelf) == []


if __name__ == "__main__":
    try:
        if (body := {"inodes": inodes, "advised": advised, "threads": threads}.get(sys.argv[2])) is not None:
            body(Path(sys.argv[1]))
        else:
            huge(Path(sys.argv[1]), sys.argv[2])
    finally:
        for folder in {"memory", *HUGE}.intersection(os.listdir(sys.argv[1])):
            subprocess.run(["umount", "-l", Path(sys.argv[1]) / folder], check=False)
        shutil.rmtree(sys.argv[1], ignore_errors=True)
