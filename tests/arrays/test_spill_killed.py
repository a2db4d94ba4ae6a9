"""Processes killed while they spill, promote, recycle, read and write; and views that outlast all of it.

As in `test_killed`, whose processes these are: arrays say by themselves which bytes they must have.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import NoRoomOnDisk, promote, settle, spill
from outlive.arrays.spill.room import promote_hot, spill_ahead
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.cluster.tending import Tending
from outlive.errors import ArrayNotFound
from tests.long import SHORT, few

from .interrupts import interrupted_at
from .local_store import assert_counted
from .test_killed import KILLS, MIB, PUT, RECORD, Victim, content, items, kill_many, read, verify, write

MEMORY, DISK = 12 * MIB, 256 * MIB
# Checks of views, by content, and of how many arrays at least: with fewer it would prove little.
CHECKS, ARRAYS = few(6000), few(100)


@pytest.fixture
def shelf(root: Path) -> Iterator[Shelf]:
    """Memory that is full most of the time, and a disk."""
    with tempfile.TemporaryDirectory(dir=tempfile.gettempdir()) as folder:
        shelf = Shelf(str(root / "shelf"), MEMORY)
        shelf.spill_to(f"{folder}/disk")
        shelf.ledger.disk.budget = DISK
        yield shelf


def move(shelf: Shelf, _: int, number: int) -> None:
    """Spill and promote at random, as any writer and the keeper do."""
    rng = random.Random(number)
    assert shelf.disk is not None
    while True:
        for array_id in rng.sample(ids := shelf.ids(), min(4, len(ids))):
            with contextlib.suppress(NoRoomOnDisk):
                rng.choice([spill, promote])(shelf, shelf.disk, array_id)
        spill_ahead(shelf)
        promote_hot(shelf)
        shelf.pool.trim(older_than=rng.choice([0, 1000]))
        shelf.disk.pool.trim()


@pytest.mark.timeout(max(300, KILLS))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_while_arrays_move(shelf: Shelf, record_property: Any) -> None:
    record_property("puts", kill_many(shelf, KILLS // 2, [write, write, read, move, move]))


@pytest.mark.parametrize("moves", [spill, promote])
@pytest.mark.parametrize("count", [10, 300_000])
@pytest.mark.parametrize("who", ["the keeper", "the next who moves"])
def test_the_array_of_a_process_that_was_killed_in_a_move_is_soon_in_one_tier(
    shelf: Shelf, moves: Callable[..., object], count: int, who: str
) -> None:
    """It counted twice until a keeper started."""
    info, other = (Writer(shelf).put(np.ones(count, np.uint8)) for _ in range(2))
    disk = shelf.disk
    assert disk is not None
    if moves is promote:
        spill(shelf, disk, info.id)
    pid = os.fork()
    if pid == 0:
        shelf.ledger.moved = lambda: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        moves(shelf, disk, info.id)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert os.listdir(disk.mem) == [info.id] and info.id in os.listdir(shelf.mem)
    if who == "the keeper":
        Tending(shelf, "node", None).balance()  # type: ignore[arg-type]
        assert os.listdir(disk.mem) == []
    else:
        spill(shelf, disk, other.id)
        assert os.listdir(disk.mem) == [other.id]
    assert shelf.ledger.moving is None
    assert Reader(shelf).view(info).sum() == count
    assert_counted(shelf)


@pytest.mark.parametrize("moves", [spill, promote])
def test_a_signal_handler_that_moves_in_the_middle_of_a_move_loses_nothing(
    shelf: Shelf, moves: Callable[..., object]
) -> None:
    """It takes the ledger's lock, which its thread has, and may not take that one's move for a dead process's."""
    info, other = (Writer(shelf).put(np.full(5000, value, np.uint8)) for value in (1, 2))
    disk = shelf.disk
    assert disk is not None
    disk.staging()

    def handler() -> None:
        settle(shelf)
        (promote if other.id in shelf.spilled() else spill)(shelf, disk, other.id)

    for step in itertools.count(1, 4 if SHORT else 1):
        (promote if moves is spill else spill)(shelf, disk, info.id)
        handled = interrupted_at(step, lambda: moves(shelf, disk, info.id), handler)
        assert settle(shelf) is None
        assert sorted(os.listdir(shelf.mem) + os.listdir(disk.mem)) == sorted([info.id, other.id])
        assert_counted(shelf)
        if not handled:
            break
    assert step > 100


def hold(shelf: Shelf, pipe: int, number: int) -> None:
    """Hold views for long, and say each time that they were all found to have their own bytes."""
    views: list[tuple[ArrayInfo, np.ndarray[Any, Any]]] = []
    rng = random.Random(number)
    while True:
        for array_id in rng.sample(ids := shelf.ids(), min(3, len(ids))):
            with contextlib.suppress(ArrayNotFound, FileNotFoundError):  # deleted meanwhile
                info = shelf.info(array_id)
                forget(array_id)
                views.append((info, Reader(shelf).view(info)))
        for info, view in views:
            seed, count = map(int, (info.key or "").split())
            assert np.array_equal(items(view, seed), content(seed, count)), f"a view of {array_id} has other bytes now"
            os.write(pipe, RECORD.pack(PUT, bytes.fromhex(info.id)))
        while len(views) > 12:
            views.pop(rng.randrange(len(views)))


def churn(shelf: Shelf, _: int, number: int) -> None:
    """Put, delete, and so recycle, segments of about the same size."""
    own: list[str] = []
    rng = random.Random(number)
    while True:
        seed, count = number << 20 | rng.getrandbits(20), rng.choice([40_000, 60_000, 70_000])
        own.append(Writer(shelf).put(content(seed, count), key=f"{seed} {count}").id)
        if len(own) > 12:
            array_id = own.pop(rng.randrange(len(own)))
            assert shelf.delete(array_id, ("default", shelf.info(array_id).key or ""))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_views_keep_their_bytes(shelf: Shelf) -> None:
    """Whatever becomes of their arrays: spilled, promoted, deleted, and their segments written anew."""
    number = random.getrandbits(20)
    works = [churn, churn, move, hold, hold, hold]
    victims = [Victim(shelf.path, work, number + place) for place, work in enumerate(works)]
    checks, arrays = 0, set[bytes]()
    try:
        while checks < CHECKS or len(arrays) <= ARRAYS:
            for victim in victims:
                victim.listen()
            checks = sum(len(victim.said) for victim in victims) // RECORD.size
            if checks >= CHECKS:
                for victim in victims:
                    whole = len(victim.said) - len(victim.said) % RECORD.size
                    arrays |= {identity for _, identity in RECORD.iter_unpack(victim.said[:whole])}
            time.sleep(0.01)  # between two looks at the condition
    finally:
        for victim in victims:
            victim.kill()
    check(shelf)
    for array_id in shelf.ids():
        verify(shelf, array_id)
    assert_counted(shelf)
