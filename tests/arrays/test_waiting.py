"""A writer gives up only when there is nothing to wait for: what others do just now is none of its business."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import draft
from outlive.arrays.layout import CACHED
from outlive.arrays.lock import OwnedFile, open_locked
from outlive.arrays.pool import Pool
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill import room, waiting
from outlive.arrays.spill.room import promote_hot, spill_ahead
from outlive.arrays.tend.fsck import clear_orphans
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull
from tests.conftest import eventually

from .conftest import MIB

COUNT = MIB // 8


@pytest.fixture
def shelf(root: Path) -> Shelf:
    """Memory for four arrays of a MiB and something, and no disk."""
    return Shelf(str(root / "shelf"), budget=4 * MIB + MIB // 2)


@pytest.fixture
def spilling(root: Path, shelf: Shelf) -> Shelf:
    """The same, with a disk for two more."""
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.disk.budget = 2 * MIB + MIB // 2
    return shelf


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What those who wait have seen."""
    seen: list[bool] = []
    may_come = waiting.may_come

    def look(shelf: Shelf) -> bool:
        seen.append(may_come(shelf))
        return seen[-1]

    monkeypatch.setattr(waiting, "may_come", look)
    return seen


def put(shelf: Shelf, number: int, *, pin: bool = False) -> Any:
    return Writer(shelf).put(np.full(COUNT, number, "i8"), options=PutOptions(pin=pin))


class Putting:
    """A put in a thread of its own, which waits."""

    def __init__(self, shelf: Shelf, **options: bool) -> None:
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(shelf,), kwargs=options, daemon=True)
        self._thread.start()

    def _run(self, shelf: Shelf, **options: bool) -> None:
        try:
            put(shelf, 9, **options)
        except StoreFull as error:
            self.error = error

    def waits(self, looks: list[bool]) -> bool:
        """Whether it has seen something to wait for. A look may miss it, as `/proc/locks` is read in several parts."""
        eventually(lambda: any(looks) or not self._thread.is_alive())
        return any(looks)

    def end(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.error is None


def hold(pool: Pool) -> FileIO:
    """As the keeper that frees a segment does."""
    (name,) = os.listdir(pool.folder)
    file = open_locked(f"{pool.folder}/{name}", fcntl.LOCK_EX)
    assert file is not None
    return file


def test_a_segment_that_is_freed_just_now(shelf: Shelf, looks: list[bool]) -> None:
    infos = [put(shelf, number) for number in range(4)]
    shelf.delete(infos[0].id)
    file = hold(shelf.pool)
    putting = Putting(shelf)
    waits = putting.waits(looks)
    file.close()
    putting.end()
    assert waits


def test_a_segment_that_is_freed_just_now_on_disk(spilling: Shelf, looks: list[bool]) -> None:
    infos = [put(spilling, number) for number in range(6)]
    views = [Reader(spilling).view(info) for info in infos]
    spilled = next(info for info in infos if info.id in spilling.spilled())
    path = spilling.locate(spilled.id)
    assert path is not None and spilling.disk is not None
    del views
    with spilling.ledger.locked():
        spilling.disk.release(spilled.id)
    file = hold(spilling.disk.pool)
    putting = Putting(spilling)
    waits = putting.waits(looks)
    file.close()
    putting.end()
    assert waits


def test_who_is_overtaken_ten_times_tries_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    other, left = Shelf(shelf.path), [14]
    infos = [put(shelf, number) for number in range(4)]
    make_room = room.make_room

    def overtaken(own: Shelf, size: int) -> bool:
        os.chmod(own.locate(infos[0].id) or "", CACHED)
        made = make_room(own, size)
        if left[0]:
            left[0] -= 1
            infos[:] = [*infos[1:], Writer(other).put(np.full(COUNT, 5, "i8"))]
        return made

    monkeypatch.setattr(draft, "make_room", overtaken)
    put(shelf, 9)
    assert left == [0]


def test_what_the_keeper_reads_just_now(spilling: Shelf, looks: list[bool]) -> None:
    """It sums an array, or sends it: a pinned one cannot go to disk, and waits for that."""
    keeper = OwnedFile(f"{spilling.path}/keeper", os.O_CREAT)
    fcntl.flock(keeper, fcntl.LOCK_EX)
    infos = [put(spilling, number, pin=number > 0) for number in range(4)]
    file = open_locked(spilling.locate(infos[0].id) or "", fcntl.LOCK_SH)
    assert file is not None
    putting = Putting(spilling, pin=True)
    waits = putting.waits(looks)
    file.close()
    putting.end()
    keeper.close()
    assert waits


def test_full_is_said_when_nothing_is_to_come(spilling: Shelf, looks: list[bool]) -> None:
    infos = [put(spilling, number) for number in range(6)]
    views = [Reader(spilling).view(info) for info in infos]
    for info in infos:
        spilling.delete(info.id)
    with pytest.raises(StoreFull):
        put(spilling, 9)
    assert not any(looks)
    del views


def test_nobody_waits_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who frees a segment was stopped."""
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    infos = [put(shelf, number) for number in range(4)]
    shelf.delete(infos[0].id)
    file = hold(shelf.pool)
    with pytest.raises(StoreFull):
        put(shelf, 9)
    file.close()


def _put_and_delete(path: str, times: int, errors: Any) -> None:
    shelf, last = Shelf(path), None
    for number in range(times):
        try:
            info = put(shelf, number)
        except StoreFull as error:
            errors.put(str(error))
            return
        if last is not None:
            shelf.delete(last.id)
        last = info
    errors.put("")


def test_writers_and_a_keeper(root: Path) -> None:
    """Six arrays at most at a time, memory for four and disk for four: whatever is moved and freed meanwhile."""
    shelf = Shelf(str(root / "shelf"), budget=4 * MIB + MIB // 2)
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.disk.budget = 4 * MIB + MIB // 2
    ended = threading.Event()

    def rounds(*steps: Callable[[], Any]) -> None:
        while not ended.is_set():
            for step in steps:
                step()
            time.sleep(0.001)

    disk = shelf.disk
    assert disk is not None
    threads = [
        threading.Thread(
            target=rounds, args=(lambda: shelf.pool.trim(), disk.pool.trim, lambda: list(clear_orphans(shelf)))
        ),
        threading.Thread(target=rounds, args=(lambda: spill_ahead(shelf), lambda: promote_hot(shelf))),
    ]
    spawning = multiprocessing.get_context("spawn")
    errors = spawning.Queue()
    writers = [spawning.Process(target=_put_and_delete, args=(shelf.path, 150, errors)) for _ in range(3)]
    for one in (*threads, *writers):
        one.start()
    try:
        assert [errors.get(timeout=120) for _ in writers] == [""] * 3
    finally:
        ended.set()
        for one in (*threads, *writers):
            one.join()
