"""A private view: writable, its writer's alone, and a view like any other for everybody who may reuse the segment."""

from __future__ import annotations

import fcntl
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import live, views
from outlive.arrays.info import ArrayInfo
from outlive.arrays.pool import LEAST
from outlive.arrays.reader import Reader
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import spill
from outlive.arrays.writer import Writer
from outlive.errors import ArrayNotFound, CorruptArray, TooManyViews

from .conftest import MIB
from .test_shelf import forked

COUNTS = [0, 3, COPY_BELOW // 8, LEAST // 8]
COUNT = LEAST // 8


def put(shelf: Shelf, number: int = 1, count: int = COUNT) -> ArrayInfo:
    return Writer(shelf).put(np.full(count, number, "i8"))


def expect(array: np.ndarray[Any, Any], number: int) -> None:
    assert (array == number).all()


@pytest.mark.parametrize("count", COUNTS)
def test_each_is_of_its_own_and_the_store_stays_as_it_is(shelf: Shelf, count: int) -> None:
    info, reader = put(shelf, 1, count), Reader(shelf)
    plain = reader.view(info)
    first, second = reader.private(info), reader.private(info)
    first += 1
    second *= 10
    assert (first == 2).all() and (second == 10).all()
    assert (plain == 1).all() and (reader.view(info) == 1).all() and not reader.view(info).flags.writeable
    del plain
    gc.collect()
    assert (Reader(shelf).view(info) == 1).all()  # nothing of the process's own serves it
    with forked(lambda: expect(Reader(Shelf(shelf.path)).view(info), 1)):
        pass


@pytest.mark.parametrize("array", [np.asfortranarray(np.arange(20_000.0).reshape(100, 200)), np.array(5), np.eye(4).T])
def test_it_is_the_same_array(shelf: Shelf, array: np.ndarray[Any, Any]) -> None:
    info = Writer(shelf).put(array)
    found = Reader(shelf).private(info)
    assert (found.shape, found.dtype, found.flags.fnc) == (array.shape, array.dtype, array.flags.fnc)
    assert np.array_equal(found, array) and found.flags.writeable


def test_its_segment_is_not_written_again_while_it_is_looked_at(shelf: Shelf) -> None:
    info = put(shelf, 1)
    view = Reader(shelf).private(info)
    view[0] = 7
    before = os.stat(f"{shelf.mem}/{info.id}").st_ino
    part = view[1:]
    del view
    shelf.delete(info.id)
    later = put(shelf, 2)
    assert os.stat(f"{shelf.mem}/{later.id}").st_ino != before
    assert (part == 1).all()
    del part
    gc.collect()
    put(shelf, 3)
    assert before in {os.stat(f"{shelf.mem}/{array_id}").st_ino for array_id in shelf.ids()}


def test_it_holds_a_lock_and_is_counted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    info = put(shelf)
    kept = [Reader(shelf).private(info) for _ in range(3)]
    fd = os.open(f"{shelf.mem}/{info.id}", os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        monkeypatch.setattr(views.mmap, "mmap", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "too many")))
        looked_at = sum(one() is not None for one in live._live.values())
        assert looked_at >= 3
        with pytest.raises(TooManyViews, match=f"looks at {looked_at},"):
            Reader(shelf).private(info)
        del kept[:]
        gc.collect()
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)


def test_a_spilled_one(shelf: Shelf, tmp_path: Path) -> None:
    shelf.spill_to(str(tmp_path / "disk"))
    shelf.ledger.disk.budget = MIB
    info = put(shelf)
    assert shelf.disk is not None and spill(shelf, shelf.disk, info.id)
    view = Reader(shelf).private(info)
    view[:] = 5
    expect(Reader(shelf).view(info), 1)


def test_it_is_read_by_its_own_private_view_alone_once_it_is_deleted(shelf: Shelf) -> None:
    info, reader = put(shelf), Reader(shelf)
    view = reader.private(info)
    shelf.delete(info.id)
    for read in (reader.view, reader.private):
        with pytest.raises(ArrayNotFound):
            read(info)
    assert (view == 1).all()


def test_a_damaged_one(shelf: Shelf) -> None:
    info = put(shelf)
    with open(f"{shelf.mem}/{info.id}", "r+b") as file:
        file.seek(-40, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(CorruptArray):
        Reader(shelf).private(info)


def test_a_forked_child_writes_to_pages_of_its_own(shelf: Shelf) -> None:
    view = Reader(shelf).private(put(shelf))
    view[0] = 2

    def write() -> None:
        assert view[0] == 2
        view[1:] = 9

    with forked(write):
        assert view[0] == 2 and (view[1:] == 1).all()
