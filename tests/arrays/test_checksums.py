"""Checksums: what is recorded, what survives a crash, what is forgotten."""

from __future__ import annotations

import contextlib
import os
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.ended import EndedArrays, Why
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import spill
from outlive.arrays.tend import unsummed as unsummed_module
from outlive.arrays.tend.checksums import Checksums, checksum_of
from outlive.arrays.tend.fsck import check
from outlive.arrays.tend.unsummed import Known, Unsummed
from outlive.arrays.writer import Writer
from tests.arrays.summing import compute_checksums


def test_checksums(root: Path) -> None:
    checksums = Checksums(str(root / "checksums"))
    assert checksums.load() == {}
    found = {f"{number:032x}": number for number in range(5)}
    checksums.append(found)
    checksums.append({"f" * 32: 2**32 - 1})
    assert checksums.load() == {**found, "f" * 32: 2**32 - 1}
    checksums.replace({"a" * 32: 1})
    assert checksums.load() == {"a" * 32: 1}
    assert os.listdir(root) == ["checksums"]


@contextlib.contextmanager
def files_of_at_most(nbytes: int) -> Iterator[None]:
    """A disk that is full in the midst of a write behaves so too: the system writes a part, and says how much."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_has_no_room_is_an_error_and_what_was_there_stays(root: Path) -> None:
    checksums, ended = Checksums(str(root / "checksums")), EndedArrays(str(root / "ended"))
    checksums.append({"a" * 32: 1})
    infos = [Writer(Shelf(str(root / "shelf"), 16 << 20)).put(np.zeros(3)) for _ in range(100)]
    many = {info.id: number for number, info in enumerate(infos)}
    with files_of_at_most(1000):
        for write in (checksums.replace, checksums.append, lambda _: ended.add(infos, Why.TTL, 7)):
            with pytest.raises(OSError, match="File too large"):
                write(many)
    assert checksums.load()["a" * 32] == 1
    ended.add(infos, Why.TTL, 7)
    assert all(ended.find(info.id) for info in infos)


def test_what_ended_is_shortened_to_whole_records(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlive.arrays.ended._MOST", 10)
    ended = EndedArrays(str(root / "ended"))
    writer = Writer(Shelf(str(root / "shelf"), 16 << 20))
    first = [writer.put(np.zeros(3)) for _ in range(15)]
    ended.add(first, Why.TTL, 7)
    with (root / "ended").open("ab") as file:
        file.write(b"a crash cut it short")
    last = [writer.put(np.zeros(3)) for _ in range(10)]
    ended.add(last, Why.TTL, 8)
    assert all(ended.find(info.id) for info in [*first[-5:], *last])


@pytest.mark.parametrize("cut", range(1, 20))
def test_checksum_that_a_crash_cut_short(root: Path, cut: int) -> None:
    checksums = Checksums(str(root / "checksums"))
    checksums.append({"a" * 32: 1, "b" * 32: 2})
    os.truncate(root / "checksums", 40 - cut)
    assert checksums.load() == {"a" * 32: 1}
    checksums.append({"c" * 32: 3})
    assert checksums.load() == {"a" * 32: 1, "c" * 32: 3}


def test_checksum_is_of_all_bytes(root: Path) -> None:
    data = np.random.default_rng(1).bytes(3_000_000)
    (root / "file").write_bytes(data)
    assert checksum_of(str(root / "file")) == zlib.crc32(data)
    with pytest.raises(OSError, match="No such file"):
        checksum_of(str(root / "none"))


def test_checksums_of_settled_arrays_only(shelf: Shelf) -> None:
    old, new = Writer(shelf).put(np.arange(5)), Writer(shelf).put(np.arange(6))
    os.utime(f"{shelf.mem}/{old.id}", (1, 1))
    assert compute_checksums(shelf, older_than=3600) == 1
    assert set(Checksums(f"{shelf.path}/checksums").load()) == {old.id}
    os.utime(f"{shelf.mem}/{new.id}", (1, 1))
    assert compute_checksums(shelf, stop=lambda: True) == 0
    assert compute_checksums(shelf) == 1
    assert compute_checksums(shelf) == 0


def test_checksums_of_deleted_arrays_are_forgotten(shelf: Shelf) -> None:
    checksums = Checksums(f"{shelf.path}/checksums")
    checksums.append({f"{number:032x}": number for number in range(1500)})
    info = Writer(shelf).put(np.arange(5))
    compute_checksums(shelf, older_than=-60)
    assert set(checksums.load()) == {info.id}


def test_what_changed_alone_is_looked_at(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums = Checksums(f"{shelf.path}/checksums")
    unsummed = Unsummed(shelf)
    first = Writer(shelf).put(np.arange(5))
    assert unsummed.compute(older_than=-1) == 1
    monkeypatch.setattr(Shelf, "ids", lambda _: pytest.fail("listed again"))
    monkeypatch.setattr(Checksums, "load", lambda _: pytest.fail("read again"))
    second, third = Writer(shelf).put(np.arange(6)), Writer(shelf).put(np.arange(7))
    assert unsummed.compute(older_than=3600) == 0  # they wait
    shelf.delete(third.id)
    assert unsummed.compute(older_than=-1) == 1
    assert unsummed.compute(older_than=-1) == 0
    monkeypatch.undo()
    assert set(checksums.load()) == {first.id, second.id}


def test_a_move_does_not_renew_a_checksum(shelf: Shelf) -> None:
    """Or a byte that flipped on the way would be right from then on."""
    shelf.spill_to(f"{shelf.path}-disk")
    shelf.ledger.disk.budget = 64 << 20
    assert shelf.disk is not None
    unsummed = Unsummed(shelf)
    info = Writer(shelf).put(np.arange(50_000))
    assert unsummed.compute(older_than=-1) == 1
    assert spill(shelf, shelf.disk, info.id) > 0
    with open(f"{shelf.disk.mem}/{info.id}", "r+b") as file:
        file.seek(info.offset)
        file.write(b"\xff")
    assert unsummed.compute(older_than=-1) == 0
    assert [finding.problem for finding in check(shelf)] == ["flipped"]


def test_the_work_is_done_in_steps_with_rests(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsummed_module, "_STEP", 0.0)
    Writer(shelf).put(np.ones(3 << 20, "u1"))
    Writer(shelf).put(np.ones(5))
    rests: list[float] = []
    assert Unsummed(shelf).compute(older_than=-1, rest=rests.append) == 2
    assert len(rests) >= 4  # after each MiB, and each array
    assert all(rest > 0 for rest in rests)


def test_known_ids() -> None:
    known = Known(f"{number:032x}" for number in range(0, 10**30, 10**28))
    assert f"{10**28:032x}" in known
    assert f"{'a' * 32}" not in known
    known.add("a" * 32)
    assert "a" * 32 in known
