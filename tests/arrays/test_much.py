"""What must not grow with the number of arrays: each looks at what it needs, and at no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import ended, pool
from outlive.arrays.clock import uptime
from outlive.arrays.ended import Ended, EndedArrays, Why
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import CACHED
from outlive.arrays.limits import number_of_files
from outlive.arrays.marks import keep
from outlive.arrays.pool import LEAST
from outlive.arrays.reader import Reader
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill import room
from outlive.arrays.spill.cached import CachedCopies
from outlive.arrays.spill.room import candidates, make_room
from outlive.arrays.writer import Writer
from outlive.catalog.wire import unpack_listed
from outlive.cluster import listing
from outlive.cluster.listing import Listing

from .test_shelf import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """What `owner.name` is called with from now on."""
    made, real = list[Any](), getattr(owner, name)

    def call(*args: Any, **options: Any) -> Any:
        made.append(args)
        return real(*args, **options)

    monkeypatch.setattr(owner, name, call)
    return made


def test_a_put_tries_few_deleted_arrays_that_are_still_viewed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [Writer(shelf).put(np.full(LEAST, number, "u1")) for number in range(30)]
    views = [Reader(shelf).view(info) for info in infos]
    for info in infos:
        shelf.delete(info.id)
    tried = calls(monkeypatch, pool, "open_owned")
    with_lock: list[bool] = []
    real = os.scandir

    def scandir(path: str) -> Any:
        with_lock.append(shelf.ledger._lock.held)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    Writer(shelf).put(np.ones(LEAST, "u1"))
    assert 0 < len(tried) <= 8
    assert with_lock == [False]
    assert [view[0] for view in views] == list(range(30))


def test_the_pool_is_emptied_without_the_ledgers_lock(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for info in [Writer(shelf).put(np.ones(16 << 20, "u1")) for _ in range(3)]:
        shelf.delete(info.id)
    shelf.ledger.budget = shelf.ledger.used + 8192
    emptied: list[bool] = []
    empty = pool.empty

    def note_and_empty(fd: int) -> None:
        emptied.append(shelf.ledger._lock.held)
        empty(fd)

    monkeypatch.setattr(pool, "empty", note_and_empty)
    Writer(shelf).put(np.ones(shelf.ledger.budget - 8192, "u1"))
    assert emptied
    assert not any(emptied)


def test_a_few_of_many_are_looked_at_for_a_spill(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [Writer(shelf).put(np.ones(5)) for _ in range(100)]
    for age, info in enumerate(reversed(infos)):
        os.utime(f"{shelf.mem}/{info.id}", (1000 - age, 1000 - age))
    assert [one.array_id for one in candidates(shelf)] == [info.id for info in infos]
    looked = calls(monkeypatch, room.os, "lstat")
    some = candidates(shelf, 40)
    assert len(looked) == 40
    assert len(some) == 10
    assert [one.last_read for one in some] == sorted(one.last_read for one in some)
    assert some[-1].last_read < 1000e9


def test_a_sample_is_enough_to_make_any_room(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if what may go is not in it."""
    monkeypatch.setattr(room, "_SAMPLE", 8)
    monkeypatch.setattr(room.candidates, "__defaults__", (8,))
    shelf.spill_to(f"{shelf.path}-disk")
    shelf.ledger.disk.budget = 64 << 20
    infos = [Writer(shelf).put(np.ones(200_000, "u1")) for _ in range(40)]
    assert make_room(shelf, shelf.ledger.budget - pages(infos[0].size) * 4)
    assert make_room(shelf, shelf.ledger.budget)
    assert shelf.ledger.used == 0


def test_only_one_of_many_may_go(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_SAMPLE", 4)
    monkeypatch.setattr(room.candidates, "__defaults__", (4,))
    shelf.spill_to(f"{shelf.path}-disk")
    shelf.ledger.disk.budget = 64 << 20
    infos = [Writer(shelf).put(np.ones(200_000, "u1")) for _ in range(30)]
    views = [Reader(shelf).view(info) for info in infos[1:]]
    monkeypatch.setattr(room, "locks", dict)  # as where /proc/locks tells nothing
    shelf.ledger.budget = shelf.ledger.used
    assert make_room(shelf, 200_000)
    assert shelf.spilled() == [infos[0].id]
    del views


def a_record(number: int) -> ArrayInfo:
    return ArrayInfo(f"{number:032x}", "default", f"k{number}", "'|u1'", (1,), False, 64, 1, 128, 1)


def test_the_end_of_what_ended_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = EndedArrays(f"{tmp_path}/ended")
    monkeypatch.setattr(ended, "_AT_A_TIME", 10)
    records.add([a_record(number) for number in range(95)], Why.TTL, 5)
    records.add([a_record(7)], Why.JOB, 6)
    read = calls(monkeypatch, os, "pread")
    assert records.find(a_record(7).id) == Ended(6, Why.JOB)
    assert records.find_key("default", "k94") == Ended(5, Why.TTL)
    assert len(read) == 2
    assert records.find(a_record(0).id) == Ended(5, Why.TTL)
    assert records.find("f" * 32) is None
    assert records.find(f"{0:016x}{1 << 60:016x}") is None  # bytes of two records that follow each other


def test_names_are_swept_by_and_by(shelf: Shelf) -> None:
    for number in range(50):
        with shelf.ledger.locked():
            shelf.names.forbid("default", f"k{number}", number + 1)
    Writer(shelf).put(np.ones(3), key="there")
    folder = f"{shelf.path}/names"
    assert [shelf.names.sweep(shelf.has, 20) for _ in range(4)] == [0] * 4  # they are in force
    long_ago = uptime() - 601 * 10**9  # before the machine started, if it has just started
    for name in os.listdir(folder):
        os.utime(f"{folder}/{name}", ns=(long_ago, long_ago), follow_symlinks=False)
    swept = [shelf.names.sweep(shelf.has, 20) for _ in range(6)]
    assert sum(swept) == 50
    assert max(swept) <= 20
    assert len(os.listdir(folder)) == 1
    assert Reader(shelf).named("default", "there") is not None


def test_cached_copies(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy() -> ArrayInfo:
        info = Writer(shelf).put(np.ones(5000))
        os.chmod(f"{shelf.mem}/{info.id}", CACHED)
        return info

    Writer(shelf).put(np.ones(5))
    first, size = copy(), pages(Writer(shelf).put(np.ones(5000)).size)
    copies = CachedCopies(shelf)
    assert copies.bytes() == size
    monkeypatch.setattr(Shelf, "ids", lambda _: pytest.fail("listed again"))
    second = copy()
    assert copies.bytes() == 2 * size
    keep(shelf, first.id)
    copies.kept([first.id])
    assert copies.bytes() == size
    shelf.delete(second.id)
    assert copies.bytes() == 0


def test_number_of_files(root: Path, tmp_path: Path) -> None:
    for folder in (root, tmp_path):
        for number in range(50):
            (folder / str(number)).touch()
        (folder / "7").unlink()
        assert number_of_files(str(folder)) == 49
    assert number_of_files(f"{root}/none") == 0


def test_a_listing_in_parts(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "AT_A_TIME", 7)
    infos = {Writer(shelf).put(np.ones(3), key=f"k{number}").id for number in range(20)}
    Writer(shelf).put(np.ones(3))
    one, before = Listing(shelf), shelf.ledger.epoch
    found, parts, after = set[str](), 0, None
    while parts == 0 or after is not None:
        epoch, packed, after = one.part(after)
        assert epoch > before
        listed = {each.info.id for each in unpack_listed(packed)}
        assert len(listed) <= 7
        if parts == 1:
            gone = (infos - found - listed).pop()  # deleted while others are listed
            infos.remove(gone)
            shelf.delete(gone)
        found |= listed
        parts += 1
    assert found == infos
    assert parts == 3
    assert {each.info.id for each in unpack_listed(one.all()[1])} == infos
    shelf.raise_epoch()
    assert one.part("")[0] > epoch


def test_an_empty_shelf_is_listed_at_once(shelf: Shelf) -> None:
    epoch, packed, after = Listing(shelf).part(None)
    assert (epoch, unpack_listed(packed), after) == (shelf.ledger.epoch, [], None)


def test_a_round_tries_few_deleted_arrays_that_are_still_viewed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [Writer(shelf).put(np.full(50_000, number, "u1")) for number in range(40)]
    views = [Reader(shelf).view(info) for info in infos[:-1]]
    for info in infos:
        monkeypatch.setattr(pool, "LEAST", 0)  # all of them go to the pool
        shelf.delete(info.id)
    tried = calls(monkeypatch, pool, "open_locked")
    assert shelf.pool.trim(refusals=7) in (0, pages(infos[0].size))
    assert 7 <= len(tried) <= 8
    for _ in range(1000):
        shelf.pool.trim(refusals=7)
        if len(os.listdir(shelf.pool.folder)) == 39:
            break
    assert len(os.listdir(shelf.pool.folder)) == 39  # the one that may go has had its turn
    del views


def test_a_segment_that_was_found_is_not_kept_by_a_forked_child(shelf: Shelf) -> None:
    """Nor by who found it and then was interrupted."""
    shelf.delete(Writer(shelf).put(np.ones(LEAST, "u1")).id)
    found = shelf.pool.find(LEAST)
    assert found is not None
    assert shelf.pool.find(LEAST) is None
    with forked(lambda: None):
        found.file.close()
        assert shelf.pool.trim() > 0
