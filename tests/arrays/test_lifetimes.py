"""What ends by itself, when, and what is known of it then."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from outlive.arrays.ended import Ended, EndedArrays, Why
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import (
    DETACHED,
    JOB,
    SCOPE,
    TTL,
    Lifetime,
    ScopeLock,
    job_id,
    lifetime_from,
    lifetime_of,
)
from outlive.arrays.put_options import PutOptions
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.ending import Endings
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.errors import ArrayNotFound

from .test_shelf import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def put(shelf: Shelf, lifetime: Lifetime, key: str | None = None) -> ArrayInfo:
    return Writer(shelf).put(np.arange(100), key=key, options=PutOptions(lifetime=lifetime))


def none_over(_: set[int]) -> set[int]:
    return set()


def due(shelf: Shelf, over: set[int] | None = None, now: float | None = None) -> dict[Why, list[str]]:
    found = Endings(shelf).due(lambda jobs: jobs & (over or set()), now)
    return {why: sorted(ids) for why, ids in found.items() if ids}


def test_lifetime_names() -> None:
    assert lifetime_from("detached", None, 7) == DETACHED
    assert lifetime_from("job", None, 7) == Lifetime(JOB, 7)
    assert lifetime_from("job", "1min", 7) == Lifetime(JOB | TTL, 7, 60)
    with pytest.raises(ValueError, match="'job' or 'detached'"):
        lifetime_from("forever", None, 7)


@pytest.mark.parametrize("lifetime", [Lifetime(JOB, 3), Lifetime(SCOPE, 2**32 - 1), Lifetime(JOB | TTL, 3, 60.5)])
def test_an_id_says_with_what_its_array_ends(shelf: Shelf, lifetime: Lifetime) -> None:
    info = put(shelf, lifetime, "k")
    assert lifetime_of(info) == lifetime
    assert shelf.info(info.id) == info


def test_job_ids() -> None:
    assert job_id(2) == "02000000"
    assert job_id(0x0D0C0B0A) == "0a0b0c0d"


def test_with_a_job(shelf: Shelf) -> None:
    two, three, kept = put(shelf, Lifetime(JOB, 2)), put(shelf, Lifetime(JOB, 3)), put(shelf, DETACHED)
    assert due(shelf) == {}
    assert due(shelf, {3}) == {Why.JOB: [three.id]}
    assert due(shelf, {2, 3}) == {Why.JOB: sorted([two.id, three.id])}
    assert shelf.has(kept.id)


def test_time_to_live_and_touch(shelf: Shelf) -> None:
    before = time.time()
    info = put(shelf, Lifetime(TTL, 0, 60))
    deadline = shelf.deadline(info)
    assert deadline is not None
    assert before + 60 <= deadline <= time.time() + 60
    assert due(shelf, now=before + 59) == {}
    assert due(shelf, now=time.time() + 61) == {Why.TTL: [info.id]}
    endings = Endings(shelf)
    assert not endings.due(none_over, before + 59)[Why.TTL]
    os.utime(f"{shelf.mem}/{info.id}", (before - 30, before + 30))  # as time passes
    shelf.touch(info)
    assert not endings.due(none_over, before + 59)[Why.TTL]
    assert endings.due(none_over, time.time() + 61)[Why.TTL] == [info.id]


def test_a_draft_that_is_stamped_again_keeps_its_time_to_live(shelf: Shelf) -> None:
    draft = Writer(shelf).draft_of(np.arange(5), key="k", options=PutOptions(lifetime=Lifetime(TTL, 0, 60)))
    draft.restamp(draft.info.version + 5)
    assert shelf.finish(draft.info.id, shelf.ledger.epoch)
    deadline = shelf.deadline(draft.info)
    assert deadline is not None
    assert deadline > time.time() + 50


def test_with_a_scope_or_its_process(shelf: Shelf) -> None:
    lock = ScopeLock(shelf.scopes)
    mine = put(shelf, Lifetime(SCOPE, lock.number))
    assert due(shelf) == {}
    theirs: list[str] = []
    with forked(lambda: scope_of_its_own(shelf.path)):
        theirs = [array_id for array_id in shelf.ids() if array_id != mine.id]
        assert len(theirs) == 1
        assert due(shelf) == {}
    assert due(shelf) == {Why.SCOPE: theirs}
    lock.release()
    assert due(shelf) == {Why.SCOPE: sorted([mine.id, *theirs])}
    assert check(shelf) == []


def scope_of_its_own(path: str) -> tuple[Shelf, ScopeLock]:
    shelf = Shelf(path)
    lock = ScopeLock(shelf.scopes)
    put(shelf, Lifetime(SCOPE, lock.number))
    return shelf, lock


def test_a_forked_child_does_not_end_its_parent_s_scope(shelf: Shelf) -> None:
    lock = ScopeLock(shelf.scopes)
    mine = put(shelf, Lifetime(SCOPE, lock.number))
    with forked(lock.release):
        assert due(shelf) == {}
    lock.release()
    assert due(shelf) == {Why.SCOPE: [mine.id]}


def test_arrays_put_later_are_found(shelf: Shelf) -> None:
    endings = Endings(shelf)
    for number in range(3):
        info = put(shelf, Lifetime(JOB, 5))
        found = endings.due(lambda jobs: jobs)[Why.JOB]
        assert len(found) == number + 1
        assert info.id in found


def test_the_deadlines_of_arrays_that_are_gone_are_forgotten(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is put again each second, to live for a week, left 600,000 of them with the keeper."""
    monkeypatch.setattr("outlive.arrays.tend.ending._MOST_GONE", 10, raising=False)
    endings, kept = Endings(shelf), put(shelf, Lifetime(TTL, 0, 3600.0))
    for _ in range(50):
        info = put(shelf, Lifetime(TTL, 0, 7200.0))
        assert endings.due(none_over)[Why.TTL] == []
        shelf.delete(info.id)
    assert endings.due(none_over)[Why.TTL] == []
    assert len(endings._deadlines) <= 13
    assert endings.due(none_over, time.time() + 3601)[Why.TTL] == [kept.id]


def test_what_is_said_of_an_array_that_ended(shelf: Shelf) -> None:
    info = put(shelf, Lifetime(JOB, 2), "k")
    when = time.time_ns()
    shelf.ended.add([info], Why.JOB, when)
    shelf.delete(info.id)
    assert shelf.ended.find(info.id) == Ended(when, Why.JOB)
    assert shelf.ended.find_key("default", "k") == Ended(when, Why.JOB)
    assert shelf.ended.find_key("default", "l") is None
    with pytest.raises(ArrayNotFound, match=r"it ended at \d{4}-.*the job that put it ended"):
        shelf.touch(info)
    assert check(shelf) == []


def test_the_last_hundred_thousand_are_remembered(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlive.arrays.ended._MOST", 10)
    ended = EndedArrays(f"{tmp_path}/ended")
    infos = [ArrayInfo(f"{i:032x}", "s", str(i), "'|u1'", (0,), False, 64, 0, 300, i) for i in range(100)]
    for info in infos:
        ended.add([info], Why.TTL, 5)
    assert ended.find(infos[-1].id) == ended.find(infos[-10].id) == Ended(5, Why.TTL)
    assert ended.find(infos[0].id) is None
    assert os.path.getsize(f"{tmp_path}/ended") <= 20 * 48
    with open(f"{tmp_path}/ended", "ab") as file:
        file.write(b"cut short")
    assert ended.find(infos[-1].id) == Ended(5, Why.TTL)


def test_a_scope_is_not_over_because_a_file_cannot_be_opened(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ScopeLock(shelf.scopes)
    put(shelf, Lifetime(SCOPE, lock.number))
    endings = Endings(shelf)

    def out_of_descriptors(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", out_of_descriptors)
        assert not endings.due(none_over)[Why.SCOPE]
    lock.release()


def test_too_late_to_touch(shelf: Shelf) -> None:
    """Or the keeper, which has just found it over, would end it though it was renewed."""
    info = put(shelf, Lifetime(TTL, 0, 60))
    os.utime(f"{shelf.mem}/{info.id}", (0, time.time() - 1))
    with pytest.raises(ArrayNotFound, match="too late"):
        shelf.touch(info)
    assert due(shelf) == {Why.TTL: [info.id]}
