"""Pinning what is sealed already, wherever it is, and letting go of it again."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill import move
from outlive.arrays.spill.move import spill
from outlive.arrays.spill.pin import pin, unpin
from outlive.arrays.spill.room import make_room
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.errors import ArrayNotFound, StoreFull

from .conftest import MIB
from .faults import faults
from .local_store import assert_counted

COUNT = MIB // 8


def new_shelf(folder: Path) -> Shelf:
    """Memory for four arrays of a MiB and something, and a disk."""
    shelf = Shelf(str(folder / "memory" / "shelf"), budget=4 * MIB + MIB // 2)
    shelf.spill_to(str(folder / "disk" / "shelf"))
    shelf.ledger.disk.budget = 32 * MIB
    return shelf


@pytest.fixture
def shelf(root: Path) -> Iterator[Shelf]:
    shelf = new_shelf(root)
    yield shelf
    assert_counted(shelf)
    assert check(shelf) == []


def put(shelf: Shelf, number: int, count: int = COUNT) -> ArrayInfo:
    return Writer(shelf).put(np.full(count, number, "i8"))


def on_disk(shelf: Shelf, info: ArrayInfo) -> bool:
    return info.id in shelf.spilled()


def is_pinned(shelf: Shelf, info: ArrayInfo) -> bool:
    return bool(os.stat(shelf.locate(info.id) or "").st_mode & stat.S_ISVTX)


def to_disk(shelf: Shelf, info: ArrayInfo) -> int:
    assert shelf.disk is not None
    return spill(shelf, shelf.disk, info.id)


def read(shelf: Shelf, info: ArrayInfo) -> np.ndarray:
    forget(info.id)
    return Reader(shelf).view(info)


def test_in_memory(shelf: Shelf) -> None:
    info = put(shelf, 1)
    pin(shelf, info)
    pin(shelf, info)
    assert to_disk(shelf, info) == 0
    for number in range(8):
        put(shelf, number)
    assert not on_disk(shelf, info)
    unpin(shelf, info)
    unpin(shelf, info)
    assert to_disk(shelf, info) > 0
    unpin(shelf, info)  # no news
    assert (read(shelf, info) == 1).all()


@pytest.mark.parametrize("count", [10, COUNT])
def test_on_disk_comes_back(shelf: Shelf, count: int) -> None:
    info = put(shelf, 1, count)
    to_disk(shelf, info)
    others = [put(shelf, number) for number in range(2, 6)]  # memory is full
    view = read(shelf, info)
    pin(shelf, info)
    assert not on_disk(shelf, info) and is_pinned(shelf, info)
    assert shelf.ledger.used <= shelf.ledger.budget
    assert (view == 1).all() and (read(shelf, info) == 1).all()
    assert [int(read(shelf, other)[0]) for other in others] == [2, 3, 4, 5]
    assert to_disk(shelf, info) == 0
    shelf.delete(info.id)
    assert not shelf.has(info.id)
    again = put(shelf, 7, count)
    assert not is_pinned(shelf, again)


def test_no_room_in_memory(shelf: Shelf) -> None:
    large, info = put(shelf, 1, 5 * COUNT), put(shelf, 2)
    to_disk(shelf, info)
    views = [read(shelf, put(shelf, number)) for number in range(4)]
    for one in (large, info):
        with pytest.raises(StoreFull, match="no room for .* in memory, to pin it there"):
            pin(shelf, one)
        assert on_disk(shelf, one) and not is_pinned(shelf, one)
    views.pop()
    pin(shelf, info)
    assert not on_disk(shelf, info)


def test_deleted(shelf: Shelf) -> None:
    info = put(shelf, 1)
    pin(shelf, info)
    shelf.delete(info.id)
    for change in (pin, unpin):
        with pytest.raises(ArrayNotFound, match="deleted, or overwritten"):
            change(shelf, info)


def test_a_link_in_its_place_is_not_followed(shelf: Shelf, root: Path) -> None:
    info = put(shelf, 1)
    path, other = Path(shelf.mem, info.id), root / "other"
    path.rename(other)
    path.symlink_to(other)
    with pytest.raises(ArrayNotFound):
        pin(shelf, info)
    assert not other.stat().st_mode & stat.S_ISVTX
    path.unlink()
    other.rename(path)


def test_pinned_while_it_is_copied_to_disk(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    info, copy = put(shelf, 1), move._fill

    def pinned(*arguments: object) -> None:
        copy(*arguments)  # type: ignore[arg-type]
        pin(shelf, info)

    monkeypatch.setattr(move, "_fill", pinned)
    assert to_disk(shelf, info) == 0
    assert not on_disk(shelf, info) and is_pinned(shelf, info)


def test_while_others_spill(shelf: Shelf) -> None:
    """It is in memory when `pin` returns, and as long as it is pinned."""
    infos, stop, errors = [put(shelf, number) for number in range(6)], threading.Event(), list[BaseException]()

    def push_out() -> None:
        own = Shelf(shelf.path)
        try:
            while not stop.is_set():
                make_room(own, 2 * MIB)
                own.pool.trim()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=push_out)
    thread.start()
    try:
        for number in range(60):
            info = infos[number % 6]
            pin(shelf, info)
            assert not on_disk(shelf, info) and is_pinned(shelf, info)
            assert read(shelf, info)[0] == number % 6
            unpin(shelf, info)
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert set(shelf.ids()) == {info.id for info in infos}


def test_full_at_every_call(root: Path) -> None:
    for fail_at in itertools.count(1):
        shelf = new_shelf(root / str(fail_at))
        info = put(shelf, 1)
        to_disk(shelf, info)
        shelf.pool.trim()
        others = [put(shelf, number) for number in range(4)]
        with faults(str(root / str(fail_at)), fail_at, errno.ENOSPC, ever=True) as shim:
            try:
                pin(shelf, info)
            except StoreFull:
                assert on_disk(shelf, info) and not is_pinned(shelf, info)
            else:
                assert not on_disk(shelf, info) and is_pinned(shelf, info)
        assert (read(shelf, info) == 1).all()
        assert set(shelf.ids()) == {one.id for one in (info, *others)}
        assert_counted(shelf)
        assert check(shelf) == []
        if shim.calls < fail_at:
            break
    assert fail_at > 5  # or it has proved little
