"""Deleted segments: still read, written again, or freed; and never another array's bytes in anyone's view."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import segment, warm
from outlive.arrays.check import check, check_arrays, compute_checksums
from outlive.arrays.info import ArrayInfo
from outlive.arrays.pool import LEAST
from outlive.arrays.shelf import Shelf
from outlive.arrays.views import forget
from outlive.errors import ArrayNotFound, StoreFull

from .local_store import disk_usage
from .test_shelf import forked, kill

COUNT = LEAST // 8


def put(shelf: Shelf, number: int, count: int = COUNT) -> ArrayInfo:
    return shelf.put(np.full(count, number, "i8"))


def inode(shelf: Shelf, info: ArrayInfo) -> int:
    return os.stat(f"{shelf.mem}/{info.id}").st_ino


@pytest.mark.parametrize("count", [COUNT, COUNT + 1, COUNT * 3 // 2, COUNT * 2 // 3 + COUNT // 2])
def test_a_deleted_segment_is_written_again(shelf: Shelf, count: int) -> None:
    first = put(shelf, 1)
    before = inode(shelf, first)
    shelf.delete(first.id)
    second = put(shelf, 2, count)
    assert inode(shelf, second) == before
    assert (shelf.view(second) == 2).all()
    assert os.stat(f"{shelf.mem}/{second.id}").st_size == second.size
    assert shelf.ledger.used == disk_usage(shelf)
    with pytest.raises(ArrayNotFound):
        shelf.view(first)
    assert check(shelf) == []


def test_one_that_is_read_is_not(shelf: Shelf) -> None:
    first = put(shelf, 1)
    view, before = shelf.view(first), inode(shelf, first)
    shelf.delete(first.id)
    second = put(shelf, 2)
    assert inode(shelf, second) != before
    assert (view == 1).all()
    assert shelf.pool.trim() == 0
    assert shelf.ledger.used == disk_usage(shelf) > 2 * LEAST  # what is still mapped counts
    del view
    gc.collect()
    assert shelf.pool.trim() > LEAST
    assert shelf.ledger.used == disk_usage(shelf) < 2 * LEAST


def test_one_of_quite_another_size_is_not(shelf: Shelf) -> None:
    first = put(shelf, 1)
    before = inode(shelf, first)
    shelf.delete(first.id)
    assert inode(shelf, put(shelf, 2, 3 * COUNT)) != before


def test_a_created_array_in_a_recycled_segment(shelf: Shelf) -> None:
    first = put(shelf, 1)
    before = inode(shelf, first)
    shelf.delete(first.id)
    info = segment.describe("'<i8'", (COUNT,), 8 * COUNT, fortran=False, store="default", key=None, version=1)
    draft = shelf.draft(info)
    out = draft.map()
    out[:] = 2
    draft.detach()
    draft.seal()
    out[:] = 3  # its own pages by now
    forget(info.id)
    assert inode(shelf, info) == before
    assert (shelf.view(info) == 2).all()
    shelf.delete(info.id)
    assert inode(shelf, put(shelf, 4)) != before  # `out` still looks at it
    del out
    gc.collect()
    assert check(shelf) == []


def test_the_pool_makes_room(root: Path) -> None:
    shelf = Shelf(str(root / "small"), budget=3 * LEAST)
    held = put(shelf, 1)
    view = shelf.view(held)
    shelf.delete(held.id)
    shelf.delete(put(shelf, 2, COUNT // 2 * 2).id)
    big = put(shelf, 3, COUNT * 3 // 2)  # needs the memory of the one that nobody reads
    with pytest.raises(StoreFull):
        put(shelf, 4)
    assert view[0] == 1
    shelf.delete(big.id)
    assert shelf.ledger.used == disk_usage(shelf) <= 3 * LEAST


def test_trimmed_by_age(shelf: Shelf) -> None:
    shelf.delete(put(shelf, 1).id)
    assert shelf.pool.trim(older_than=1000) == 0
    assert shelf.pool.used() > LEAST
    assert shelf.pool.trim() > LEAST
    assert shelf.pool.used() == 0
    assert shelf.ledger.used == disk_usage(shelf) == 0


def test_foreign_files_in_the_pool(shelf: Shelf, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"x" * LEAST)
    Path(shelf.pool.folder, "notes").write_text("hello")
    Path(shelf.pool.folder, f"{LEAST}.{'0' * 32}").symlink_to(foreign)
    put(shelf, 1, COUNT - 100)
    shelf.pool.trim()
    assert foreign.read_bytes() == b"x" * LEAST


def test_a_segment_recycled_between_listing_and_reading_is_no_damage(shelf: Shelf) -> None:
    first = put(shelf, 1)
    compute_checksums(shelf, older_than=0)
    shelf.delete(first.id)
    put(shelf, 2)
    assert check_arrays(shelf, [first.id]) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_readers_never_see_another_array(shelf: Shelf) -> None:
    """The race of prototypes past: opened before it was recycled, locked after. Each segment says who it is."""
    pid = os.fork()
    if pid == 0:
        try:
            own, number = Shelf(shelf.path), 1
            while True:
                info = own.put(np.full(COUNT, number), key=str(number))
                own.delete(info.id, ("default", str(number)))
                number += 1
        finally:
            os._exit(1)
    try:
        seen, deadline, held = 0, time.monotonic() + 120, list[tuple[int, np.ndarray]]()
        while seen < 1500:
            for array_id in shelf.ids():
                try:
                    info = shelf.info(array_id)
                    view = shelf.view(info)
                except (ArrayNotFound, FileNotFoundError):  # deleted meanwhile
                    continue
                held.append((int(info.key or ""), view))
                seen += 1
            for number, view in held[-4:]:
                assert view[0] == view[-1] == number, "another array's bytes"
                assert (view == number).all(), "another array's bytes"
            del held[:-3]
            assert time.monotonic() < deadline, f"{seen} reads"
    finally:
        kill(pid)
    held.clear()
    assert {finding.problem for finding in check(shelf)} <= {"abandoned", "miscounted"}
    assert shelf.ledger.used == disk_usage(shelf)


def test_a_fork_while_a_recycled_segment_is_written_leaves_no_lock(shelf: Shelf) -> None:
    shelf.delete(put(shelf, 1).id)
    draft = shelf.draft_of(np.arange(5), key="other")  # so that the folder is there
    draft.discard()
    draft = shelf.draft(segment.describe("'<i8'", (COUNT,), 8 * COUNT, fortran=False, store="s", key=None, version=1))
    with forked(lambda: None):  # it has the draft's open file, and with it the lock
        draft.write(np.full(COUNT, 2))
        draft.seal()
        assert (shelf.view(draft.info) == 2).all()


def test_what_a_process_remembers_ends_with_the_shelf(shelf: Shelf) -> None:
    """It is removed and made anew by others: a view that is still held must not stand for the key."""
    reader = Shelf(shelf.path)
    shelf.put(np.full(COUNT, 1), key="k")
    held = reader.named("default", "k")
    Shelf(shelf.path).remove()
    Shelf(shelf.path).put(np.full(COUNT, 2), key="k")
    again = reader.named("default", "k")
    assert held is not None
    assert again is not None
    assert (held[0], again[0]) == (1, 2)


def test_a_discarded_draft_leaves_no_memory_to_its_warm_map(shelf: Shelf) -> None:
    big = warm.LEAST // 8
    for number in range(3):
        shelf.delete(put(shelf, number, big).id)
    draft = shelf.draft_of(np.full(big, 9))
    with open(draft.path, "rb") as file:
        draft.discard()
        assert os.fstat(file.fileno()).st_blocks == 0
    assert shelf.ledger.used == disk_usage(shelf) == 0
