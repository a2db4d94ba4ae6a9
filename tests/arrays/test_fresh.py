"""Memory of a new segment that several threads allocate. `test_mounts` has the file systems that are full."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import draft, fresh
from outlive.arrays.disk import Disk
from outlive.arrays.draft import Draft
from outlive.arrays.fresh import Fresh
from outlive.arrays.info import ArrayInfo
from outlive.arrays.reader import Reader
from outlive.arrays.remains import clear_remains
from outlive.arrays.segment import describe, footer, header_of
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill import move
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer, mapped
from outlive.values.packing import pack
from tests.conftest import eventually

from .conftest import MIB
from .local_store import assert_counted
from .receiving import fill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has madvise(2) for this")


@pytest.fixture
def allocated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The pieces that were allocated, by four threads; a piece has 1 MiB."""
    pieces: list[tuple[int, int]] = []
    allocate = Fresh.allocate

    def noted(self: Fresh, begin: int, end: int) -> None:
        allocate(self, begin, end)
        pieces.append((begin, end))

    for module in (draft, move):
        monkeypatch.setattr(module, "threads", lambda _: 4)
    monkeypatch.setattr(fresh, "_PIECE", MIB)
    monkeypatch.setattr(Fresh, "allocate", noted)
    return pieces


@pytest.mark.parametrize("case", ["plain", "fortran", "steps", "packed"])
def test_a_new_segment_is_allocated_and_then_copied(shelf: Shelf, allocated: list[tuple[int, int]], case: str) -> None:
    array = np.random.default_rng(1).integers(0, 256, (1024, 5000), "u1")
    given = {"fortran": np.asfortranarray(array), "steps": array[::2, ::3]}.get(case, array)
    info = Writer(shelf).put(pack({"a": given, "b": 1}) if case == "packed" else given)
    assert min(allocated)[0] == 0
    assert sorted(begin for begin, _ in allocated)[1:] == sorted(end for _, end in allocated)[:-1]
    assert max(allocated)[1] == info.size
    if case == "packed":
        assert given.tobytes() in Reader(shelf).view(info).tobytes()
    else:
        assert (Reader(shelf).view(info) == given).all()
    assert_counted(shelf)
    assert check(shelf) == []


def test_an_array_that_is_created_has_its_memory(shelf: Shelf, allocated: list[tuple[int, int]]) -> None:
    size = 8 * MIB
    made = Draft.make(shelf, describe("'|u1'", (size,), size, fortran=False, store="default", key=None, version=1))
    out = mapped(made)
    assert max(allocated)[1] == made.info.size
    out[:] = 7
    made.detach()
    made.seal()
    assert (Reader(shelf).view(made.info) == 7).all()


@pytest.fixture
def huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount that gives them."""
    monkeypatch.setattr(draft.huge, "given", lambda *_: True)


def segment_of(size: int) -> tuple[ArrayInfo, bytes]:
    info = describe("'|u1'", (size,), size, fortran=False, store="default", key=None, version=1)
    return info, header_of(info) + os.urandom(size) + footer(info)


@pytest.mark.usefixtures("huge_pages")
def test_what_comes_from_another_node_has_its_memory_piece_by_piece(
    shelf: Shelf, allocated: list[tuple[int, int]]
) -> None:
    info, data = segment_of(8 * MIB + 5)
    made = Draft.make(shelf, info)
    target = made.target()
    assert allocated == []
    fill(target, data)
    assert sorted(allocated) == [(begin, min(begin + MIB, info.size)) for begin in range(0, info.size, MIB)]
    made.verify()
    made.seal()
    assert Reader(shelf).view(info).tobytes() == data[info.offset :][: info.nbytes]
    assert_counted(shelf)
    assert check(shelf) == []


@pytest.mark.usefixtures("huge_pages")
def test_a_kernel_without_it_has_what_comes_written(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "_POPULATE_WRITE", 9999)
    info, data = segment_of(8 * MIB)
    made = Draft.make(shelf, info)
    target = made.target()
    assert target.window(0, MIB) is None
    fill(target, data)
    made.verify()
    made.seal()
    assert Reader(shelf).view(info).tobytes() == data[info.offset :][: info.nbytes]


@pytest.mark.usefixtures("huge_pages")
def test_what_comes_and_goes_to_disk_is_written(shelf: Shelf, root: Path, allocated: list[tuple[int, int]]) -> None:
    shelf.spill_to(str(root / "disk"))
    assert shelf.disk is not None
    shelf.ledger.disk.budget = 256 * MIB
    info, data = segment_of(80 * MIB)  # more than the budget of memory
    made = Draft.make(shelf, info)
    fill(made.target(), data)
    made.verify()
    made.seal()
    assert allocated == []
    assert Reader(shelf).view(info).tobytes() == data[info.offset :][: info.nbytes]


def test_what_goes_to_disk_is_written(shelf: Shelf, root: Path, allocated: list[tuple[int, int]]) -> None:
    """Some disks, as NFS, say only to `write(2)` that they are full."""
    shelf.spill_to(str(root / "disk"))
    assert shelf.disk is not None
    shelf.ledger.disk.budget = 256 * MIB
    info = Writer(shelf).put(np.full(80 * MIB, 5, "u1"))  # more than the budget of memory
    assert allocated == []
    assert os.path.exists(f"{shelf.mem}/{info.id}") is False
    assert (Reader(shelf).view(info) == 5).all()


@pytest.fixture
def spilled(shelf: Shelf, root: Path) -> tuple[Disk, ArrayInfo]:
    """A disk, and an array of bytes by chance that is there."""
    shelf.spill_to(str(root / "disk"))
    assert shelf.disk is not None
    shelf.ledger.disk.budget = 256 * MIB
    info = Writer(shelf).put(np.random.default_rng(2).integers(0, 256, 24 * MIB + 5, "u1"))
    assert move.spill(shelf, shelf.disk, info.id)
    shelf.pool.trim()
    return shelf.disk, info


def assert_promoted(shelf: Shelf, info: ArrayInfo) -> None:
    assert os.path.exists(f"{shelf.mem}/{info.id}")
    assert (Reader(shelf).view(info) == np.random.default_rng(2).integers(0, 256, info.nbytes, "u1")).all()
    assert_counted(shelf)
    assert check(shelf) == []


def test_an_array_that_is_promoted_is_read_by_several_threads(
    shelf: Shelf, spilled: tuple[Disk, ArrayInfo], allocated: list[tuple[int, int]]
) -> None:
    disk, info = spilled
    times = os.stat(f"{disk.mem}/{info.id}")
    assert move.promote(shelf, disk, info.id)
    assert sorted(allocated) == [(begin, min(begin + MIB, info.size)) for begin in range(0, info.size, MIB)]
    after = os.stat(f"{shelf.mem}/{info.id}")
    assert (after.st_mtime_ns, after.st_atime_ns) == (times.st_mtime_ns, times.st_atime_ns)
    assert_promoted(shelf, info)


@pytest.mark.parametrize(("given", "by_threads"), [(False, False), (True, True)])
def test_two_threads_are_worth_it_in_huge_pages(
    shelf: Shelf,
    spilled: tuple[Disk, ArrayInfo],
    allocated: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    given: bool,
    by_threads: bool,
) -> None:
    disk, info = spilled
    monkeypatch.setattr(move, "threads", lambda _: 2)
    monkeypatch.setattr(move.huge, "given", lambda *_: given)
    assert move.promote(shelf, disk, info.id)
    assert bool(allocated) == by_threads
    assert_promoted(shelf, info)


@pytest.mark.usefixtures("allocated")
def test_a_kernel_without_it_has_what_is_promoted_copied(
    shelf: Shelf, spilled: tuple[Disk, ArrayInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "_POPULATE_WRITE", 9999)
    assert move.promote(shelf, spilled[0], spilled[1].id)
    assert_promoted(shelf, spilled[1])


@pytest.mark.usefixtures("allocated")
def test_a_file_on_disk_that_was_cut_is_not_promoted(
    shelf: Shelf, spilled: tuple[Disk, ArrayInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, info = spilled

    def four(_: int) -> int:  # as if it were cut just after its size was seen
        os.truncate(f"{disk.mem}/{info.id}", 10 * MIB)
        return 4

    monkeypatch.setattr(move, "threads", four)
    with pytest.raises(OSError, match="a segment is shorter than it was"):
        move.promote(shelf, disk, info.id)
    assert not os.path.exists(f"{shelf.mem}/{info.id}")
    assert os.listdir(shelf.staging()) == []


def test_memory_of_a_promotion_that_fails_is_given_back_without_a_collector(
    shelf: Shelf, spilled: tuple[Disk, ArrayInfo], allocated: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's collector may not run for long, and the bytes count as free."""
    begun, read = threading.Event(), os.preadv

    def failing(*args: Any) -> int:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(60)
            return read(*args)
        begun.set()
        raise OSError(5, "a bad disk")

    monkeypatch.setattr(os, "preadv", failing)
    gc.disable()
    try:
        with pytest.raises(OSError, match="a bad disk"):
            move.promote(shelf, spilled[0], spilled[1].id)
        assert allocated
        # a thread that has done its last piece has the copy until it ends
        eventually(lambda: f"{spilled[1].id}.copy (deleted)" not in Path("/proc/self/maps").read_text())
    finally:
        gc.enable()


def test_memory_that_could_not_be_had_is_not_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "threads", lambda _: 4)
    monkeypatch.setattr(fresh, "_POPULATE_WRITE", 9999)
    size = 8 * MIB
    made = Draft.make(shelf, describe("'|u1'", (size,), size, fortran=False, store="default", key=None, version=1))
    assert made.memory() is None
    assert made._copying is None
    made.discard()
    assert_counted(shelf)


def test_a_kernel_without_it_has_the_array_written(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "threads", lambda _: 4)
    monkeypatch.setattr(fresh, "_POPULATE_WRITE", 9999)  # as kernels before 5.14 answer: EINVAL
    info = Writer(shelf).put(np.full(8 * MIB, 5, "u1"))
    assert (Reader(shelf).view(info) == 5).all()
    assert_counted(shelf)


@pytest.mark.parametrize("promoted", [False, True])
def test_an_interrupted_copy_is_discarded_once_nobody_allocates(
    shelf: Shelf,
    spilled: tuple[Disk, ArrayInfo],
    allocated: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    promoted: bool,
) -> None:
    """Else the other threads would give memory to a file that was counted as empty."""
    (disk, info), at_work, handled = spilled, list[int](), list[int]()
    first, begun = threading.Lock(), threading.Event()
    allocate, discard = Fresh.allocate, Shelf.delete_draft

    def interrupting(self: Fresh, begin: int, end: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(60)  # another thread has a piece
            allocate(self, begin, end)
            return
        at_work.append(1)
        if first.acquire(blocking=False):
            begun.set()
            for count in (1, 2):  # the second comes while the main thread waits for this one
                os.kill(os.getpid(), signal.SIGUSR1)
                eventually(lambda: len(handled) == count)  # noqa: B023 - at once
        allocate(self, begin, end)
        at_work.pop()

    def looked(self: Shelf, path: str) -> Any:
        assert at_work == []
        return discard(self, path)

    def interrupt(*_: object) -> None:
        handled.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Fresh, "allocate", interrupting)
    monkeypatch.setattr(Shelf, "delete_draft", looked)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            _ = move.promote(shelf, disk, info.id) if promoted else Writer(shelf).put(np.ones(24 * MIB, "u1"))
        clear_remains()  # as the next put does
    finally:
        eventually(lambda: not at_work)
        signal.signal(signal.SIGUSR1, before)
    assert len(handled) == 2
    assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
    assert_counted(shelf)
