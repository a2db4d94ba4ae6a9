"""Deleted segments: still read, written again, or freed; and never another array's bytes in anyone's view."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from outlive.arrays import segment, views, warm
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo, new_id
from outlive.arrays.layout import CACHED, COPIED, LEAVING, PINNED, PRIVATE
from outlive.arrays.lifetimes import TTL, Lifetime
from outlive.arrays.live import forget
from outlive.arrays.marks import drop_if_leaving, evict, mode_of
from outlive.arrays.pool import LEAST
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.segment import header_of, read_info_at
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import spill
from outlive.arrays.tend.fsck import check, check_arrays
from outlive.arrays.writer import Writer, fill, mapped
from outlive.errors import ArrayNotFound, CorruptArray, StoreFull
from tests.arrays.summing import compute_checksums
from tests.forking import kill
from tests.long import few

from .local_store import disk_usage
from .test_shelf import forked

COUNT = LEAST // 8
SIZE = 2 << 20


def put(shelf: Shelf, number: int, count: int = COUNT) -> ArrayInfo:
    return Writer(shelf).put(np.full(count, number, "i8"))


def inode(shelf: Shelf, info: ArrayInfo) -> int:
    return os.stat(f"{shelf.mem}/{info.id}").st_ino


@pytest.mark.parametrize("count", [COUNT, COUNT + 1, COUNT * 3 // 2, COUNT * 2 // 3 + COUNT // 2])
def test_a_deleted_segment_is_written_again(shelf: Shelf, count: int) -> None:
    first = put(shelf, 1)
    before = inode(shelf, first)
    shelf.delete(first.id)
    second = put(shelf, 2, count)
    assert inode(shelf, second) == before
    assert (Reader(shelf).view(second) == 2).all()
    assert os.stat(f"{shelf.mem}/{second.id}").st_size == second.size
    assert shelf.ledger.used == disk_usage(shelf)
    with pytest.raises(ArrayNotFound):
        Reader(shelf).view(first)
    assert check(shelf) == []


def test_one_that_is_read_is_not(shelf: Shelf) -> None:
    first = put(shelf, 1)
    view, before = Reader(shelf).view(first), inode(shelf, first)
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
    draft = Draft.make(shelf, info)
    out = mapped(draft)
    out[:] = 2
    draft.detach()
    draft.seal()
    out[:] = 3  # its own pages by now
    forget(info.id)
    assert inode(shelf, info) == before
    assert (Reader(shelf).view(info) == 2).all()
    shelf.delete(info.id)
    assert inode(shelf, put(shelf, 4)) != before  # `out` still looks at it
    del out
    gc.collect()
    assert check(shelf) == []


def test_the_pool_makes_room(root: Path) -> None:
    shelf = Shelf(str(root / "small"), budget=3 * LEAST)
    held = put(shelf, 1)
    view = Reader(shelf).view(held)
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
                info = Writer(own).put(np.full(COUNT, number), key=str(number))
                own.delete(info.id, ("default", str(number)))
                number += 1
        finally:
            os._exit(1)
    try:
        seen, held = 0, list[tuple[int, np.ndarray]]()
        while seen < few(1500):
            for array_id in shelf.ids():
                try:
                    info = shelf.info(array_id)
                    view = Reader(shelf).view(info)
                except (ArrayNotFound, FileNotFoundError):  # deleted meanwhile
                    continue
                held.append((int(info.key or ""), view))
                seen += 1
            for number, view in held[-4:]:
                assert view[0] == view[-1] == number, "another array's bytes"
                assert (view == number).all(), "another array's bytes"
            del held[:-3]
    finally:
        kill(pid)
    held.clear()
    assert {finding.problem for finding in check(shelf)} <= {"abandoned", "miscounted"}
    assert shelf.ledger.used == disk_usage(shelf)


def test_a_fork_while_a_recycled_segment_is_written_leaves_no_lock(shelf: Shelf) -> None:
    shelf.delete(put(shelf, 1).id)
    draft = Writer(shelf).draft_of(np.arange(5), key="other")  # so that the folder is there
    draft.discard()
    draft = Draft.make(
        shelf, segment.describe("'<i8'", (COUNT,), 8 * COUNT, fortran=False, store="s", key=None, version=1)
    )
    with forked(lambda: None):  # it has the draft's open file, and with it the lock
        fill(draft, np.full(COUNT, 2))
        draft.seal()
        assert (Reader(shelf).view(draft.info) == 2).all()


def test_what_a_process_remembers_ends_with_the_shelf(shelf: Shelf) -> None:
    """It is removed and made anew by others: a view that is still held must not stand for the key."""
    reader = Shelf(shelf.path)
    Writer(shelf).put(np.full(COUNT, 1), key="k")
    held = Reader(reader).named("default", "k")
    Shelf(shelf.path).remove()
    Writer(Shelf(shelf.path)).put(np.full(COUNT, 2), key="k")
    again = Reader(reader).named("default", "k")
    assert held is not None
    assert again is not None
    assert (held[0], again[0]) == (1, 2)


def test_a_discarded_draft_leaves_no_memory_to_its_warm_map(shelf: Shelf) -> None:
    big = warm.LEAST // 8
    for number in range(3):
        shelf.delete(put(shelf, number, big).id)
    draft = Writer(shelf).draft_of(np.full(big, 9))
    with open(draft.path, "rb") as file:
        draft.discard()
        assert os.fstat(file.fileno()).st_blocks == 0
    assert shelf.ledger.used == disk_usage(shelf) == 0


@pytest.mark.parametrize("recycled_by", ["put", "create", "a fetch"])
def test_a_writer_that_dies_in_the_middle_leaves_nothing_that_passes_for_the_old_array(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, recycled_by: str
) -> None:
    """A reader opened the segment before it was deleted, and locks it when its next writer is dead already."""
    old = Writer(shelf).put(np.zeros(SIZE, np.uint8))

    def recycle_and_die(fd: int, how: int) -> None:
        monkeypatch.setattr(views, "fcntl", fcntl)
        shelf.delete(old.id)
        child = os.fork()
        if child == 0:
            draft = Draft.make(shelf, old._replace(id=new_id("00" * 5)))
            if recycled_by == "create":
                mapped(draft)[: SIZE // 2] = 7
            elif recycled_by == "put":
                assert draft._fd is not None
                os.pwrite(draft._fd, header_of(old) + bytes([7]) * (SIZE // 2), 0)
            else:
                draft.write_segment(die_after(header_of(old) + bytes([7]) * (SIZE // 2)))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        (left,) = [file for writer in Path(shelf.new).iterdir() for file in writer.iterdir()]
        assert os.fstat(fd).st_ino == left.stat().st_ino, "it was not recycled, or this proves nothing"
        fcntl.flock(fd, how)

    def die_after(data: bytes) -> Iterator[bytes]:
        yield data
        os.kill(os.getpid(), signal.SIGKILL)

    paused = SimpleNamespace(flock=recycle_and_die, LOCK_SH=fcntl.LOCK_SH, LOCK_NB=fcntl.LOCK_NB)
    monkeypatch.setattr(views, "fcntl", paused)
    with pytest.raises(ArrayNotFound):
        Reader(shelf).view(old)


def test_a_segment_that_is_filled_in_place_is_none_until_it_is_filled(shelf: Shelf) -> None:
    for _ in range(2):  # new, then recycled
        info = Writer(shelf).put(np.zeros(SIZE, np.uint8))
        shelf.delete(info.id)
        draft = Draft.make(shelf, info._replace(id=new_id("00" * 5)))
        out = mapped(draft)
        with pytest.raises(CorruptArray):
            read_info_at(draft.path, draft.info.id)
        out[:] = 1
        draft.detach()
        assert read_info_at(draft.path, draft.info.id) == draft.info
        draft.seal()
        assert Reader(shelf).view(draft.info).sum() == SIZE
        shelf.delete(draft.info.id)


@pytest.mark.parametrize("marks", [COPIED | LEAVING, CACHED, PINNED])
def test_a_spilled_arrays_segment_has_nothing_of_its_former_life(shelf: Shelf, tmp_path: Path, marks: int) -> None:
    shelf.spill_to(str(tmp_path / "disk"))
    shelf.ledger.disk.budget = 1 << 30
    assert shelf.disk is not None
    info = Writer(shelf).put(np.zeros(SIZE, np.uint8), options=PutOptions(lifetime=Lifetime(TTL, 0, 1e6)))
    assert spill(shelf, shelf.disk, info.id)
    (deleted,) = Path(shelf.pool.folder).iterdir()
    deleted.chmod(marks)  # whoever put it there
    new = Writer(shelf).put(np.ones(SIZE, np.uint8))
    assert list(Path(shelf.pool.folder).iterdir()) == []
    assert mode_of(shelf, new.id) & 0o7777 == PRIVATE
    assert not drop_if_leaving(shelf, new.id) and not evict(shelf, new.id)
    assert abs(os.stat(f"{shelf.mem}/{new.id}").st_mtime - time.time()) < 1e5
    assert Reader(shelf).view(new).sum() == SIZE


def test_the_time_of_day_may_be_set_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a machine is resumed: what is in the pool was then deleted in the future."""
    shelf.ledger.budget = 4 * SIZE
    for info in [Writer(shelf).put(np.zeros(SIZE, np.uint8)) for _ in range(3)]:
        shelf.delete(info.id)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert Writer(shelf).put(np.zeros(3 * SIZE, np.uint8)).nbytes == 3 * SIZE
    shelf.delete(Writer(shelf).put(np.zeros(SIZE // 4, np.uint8)).id)
    assert shelf.pool.trim(older_than=1.0) == 0
    ticks = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: ticks() + 2)
    assert shelf.pool.trim(older_than=1.0) > 0
