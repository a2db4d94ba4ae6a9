"""What the kernel tells of changes, and that nothing is missed where it does not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import changes, tiers
from outlive.arrays.changes import Changes
from outlive.arrays.lifetimes import JOB, SCOPE, TTL, Lifetime
from outlive.arrays.put_options import PutOptions
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.ending import Endings
from outlive.arrays.writer import Writer


def no_job(_: set[int]) -> set[int]:
    return set()


@pytest.fixture(params=["told", "not told"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "not told":
        monkeypatch.setattr(changes, "_libc", lambda: None)
    return bool(request.param == "told")


def test_what_came_and_went(root: Path) -> None:
    one, other = root / "one", root / "other"
    one.mkdir()
    other.mkdir()
    told = Changes(lambda: (str(one), str(other)))
    assert told.take() is None  # not before it watches
    assert told.take() == set()
    (one / "a").touch()
    (one / "a").rename(other / "b")
    (other / "c").symlink_to("nowhere")
    (other / "c").unlink()
    assert told.take() == {(str(one), "a"), (str(other), "b"), (str(other), "c")}
    assert told.take() == set()


def test_a_folder_that_was_made_anew(root: Path) -> None:
    folder = root / "folder"
    folder.mkdir()
    told = Changes(lambda: (str(folder),))
    told.take()
    folder.rmdir()
    folder.mkdir()
    assert told.take() is None
    (folder / "a").touch()
    assert told.take() == {(str(folder), "a")}


def test_a_queue_that_overflows(root: Path) -> None:
    told = Changes(lambda: (str(root),))
    told.take()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    file, other = root / "a", root / "b"
    file.touch()
    for _ in range(most // 4 + 1):
        os.rename(file, other)
        os.rename(other, file)
    assert told.take() is None
    assert told.take() == set()


def test_a_quiet_folder_is_not_listed_where_nobody_tells(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_libc", lambda: None)
    not_told = Changes(lambda: (str(root),))
    assert not_told.take() is None
    os.utime(root, (1, 1))
    assert not_told.take() is None
    assert not_told.take() == set()
    (root / "a").touch()
    assert not_told.take() is None
    assert not_told.take() is None  # another change in the same tick would not show


def test_no_descriptor_is_left(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        Changes(lambda: (str(root),)).take()
    assert len(os.listdir("/proc/self/fd")) == before


def test_endings_follow_the_shelf(shelf: Shelf, told: bool) -> None:
    del told
    endings = Endings(shelf)
    jobs: set[int] = set()
    due = lambda: {array_id for ids in endings.due(lambda all_jobs: all_jobs & jobs, now).values() for array_id in ids}  # noqa: E731
    now = 1.0
    first = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(JOB, 7)))
    assert due() == set()
    second = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(TTL, 0, 60.0)))
    third = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(JOB, 7)))
    Writer(shelf).put(np.ones(3))
    assert due() == set()
    jobs.add(7)
    assert due() == {first.id, third.id}
    shelf.delete(first.id)
    assert due() == {third.id}
    now = 1e11
    assert due() == {second.id, third.id}
    assert due() == {second.id, third.id}  # until they are gone
    shelf.delete(second.id)
    shelf.delete(third.id)
    assert due() == set()


def test_a_touched_array_does_not_end(shelf: Shelf) -> None:
    endings = Endings(shelf)
    info = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(TTL, 0, 60.0)))
    begin = shelf.deadline(info) or 0.0
    assert not any(endings.due(no_job, begin - 1).values())
    shelf.set_deadline(info.id, int((begin + 100) * 1e9))
    assert not any(endings.due(no_job, begin + 1).values())
    assert any(endings.due(no_job, begin + 101).values())


def test_rounds_list_nothing_while_little_changes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = Endings(shelf)
    endings.due(no_job)
    monkeypatch.setattr(Shelf, "ids", lambda _: pytest.fail("listed again"))
    Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(JOB, 1)))
    assert endings.due(lambda jobs: jobs)[1]


def test_recount_beside_writers(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is right although all kinds of changes come between its scan and its end; and the lock is free meanwhile."""
    shelf.spill_to(f"{shelf.path}-disk")
    shelf.ledger.disk.budget = 64 << 20
    infos = [Writer(shelf).put(np.ones(count, "u1")) for count in (100, 100, 300_000, 300_000)]
    shelf.delete(infos[2].id)
    real, once = tiers.Count, []

    class Disturbed(real):  # type: ignore[misc, valid-type]
        def finish(self) -> bool:
            if not once:
                once.append(1)
                Writer(shelf).put(np.ones(500_000, "u1"))
                shelf.delete(infos[0].id)
                shelf.delete(infos[3].id)
                Writer(shelf).put(np.ones(290_000, "u1"))  # in a segment of the pool
                once.append(Writer(shelf).draft_of(np.ones(5000)))
            return bool(super().finish())

    monkeypatch.setattr(tiers, "Count", Disturbed)
    assert shelf.recount() == 0
    once[1].discard()
    shelf.ledger.used += 4096
    assert shelf.recount() == 4096


def test_no_writer_waits_while_a_recount_stops_watching(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    Writer(shelf).put(np.ones(3))
    real, waited = Changes.close, []

    def close(changes: Changes) -> None:
        with open(f"{shelf.path}/ledger") as ledger:
            try:
                fcntl.flock(ledger, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                waited.append(changes)
        real(changes)

    monkeypatch.setattr(Changes, "close", close)
    assert shelf.recount() == 0
    assert waited == []


def test_arrays_of_a_scope(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(SCOPE, 5)))
    Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(SCOPE, 6)))
    endings = Endings(shelf)
    assert endings.of_scope(5) == [first.id]
    monkeypatch.setattr(Shelf, "ids", lambda _: pytest.fail("listed again"))
    second = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(SCOPE | TTL, 5, 60.0)))
    assert set(endings.of_scope(5)) == {first.id, second.id}
    shelf.delete(first.id)
    assert endings.of_scope(5) == [second.id]
    assert endings.of_scope(7) == []
