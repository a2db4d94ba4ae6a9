"""Spilling: over the budget, arrays go to disk and are read on through the same calls, and come back when hot."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment, settings
from outlive.arrays.disk import Disk
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import COPY
from outlive.arrays.live import forget
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.segment import COPY_BELOW, pages
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import NoRoomOnDisk, promote, spill
from outlive.arrays.spill.room import candidates, make_room, promote_hot, spill_ahead
from outlive.arrays.spill.waiting import may_come
from outlive.arrays.tend.checksums import Checksums
from outlive.arrays.tend.fsck import check, clear_orphans, mend_doubles
from outlive.arrays.writer import Writer, mapped
from outlive.cluster import listing
from outlive.cluster.tending import Tending
from outlive.errors import ArrayNotFound, StoreFull, UnsafeRoot
from tests.arrays.summing import compute_checksums

from .conftest import MIB
from .local_store import Catalog, assert_counted, disk_usage
from .locked import can_lock

COUNT = MIB // 8


@pytest.fixture(params=["on disk", "in memory"])
def spill_folder(request: pytest.FixtureRequest, root: Path) -> Iterator[str]:
    """Both kinds of file system differ in what they count, allocate and copy."""
    if request.param == "in memory":
        yield str(root / "disk")
        return
    with tempfile.TemporaryDirectory(dir=tempfile.gettempdir()) as folder:
        yield f"{folder}/disk"


@pytest.fixture
def shelf(root: Path, spill_folder: str) -> Iterator[Shelf]:
    """Memory for four arrays of a MiB and something, disk for four more. Counted against the file system at the end."""
    shelf = Shelf(str(root / "shelf"), budget=4 * MIB + MIB // 2)
    shelf.spill_to(spill_folder)
    shelf.ledger.disk.budget = 4 * MIB + MIB // 2
    yield shelf
    gc.collect(1)  # errors of the test hold views. All that is older takes longer than most tests
    if shelf.exists():
        if shelf.pool.used():
            gc.collect()
        assert_counted(shelf)
        assert shelf.recount() == 0
        assert check(shelf) == []
        assert shelf.pool.used() == 0


def put(shelf: Shelf, number: int, count: int = COUNT, *, pin: bool = False) -> ArrayInfo:
    return Writer(shelf).put(np.full(count, number, "i8"), options=PutOptions(pin=pin))


def read(shelf: Shelf, info: ArrayInfo) -> np.ndarray:
    forget(info.id)
    return Reader(shelf).view(info)


def on_disk(shelf: Shelf, info: ArrayInfo) -> bool:
    path = shelf.locate(info.id)
    assert path is not None
    assert shelf.disk is not None
    return path.startswith(shelf.disk.path)


def age(shelf: Shelf, info: ArrayInfo, seconds: float) -> None:
    """As if it had been put, and read, so long ago."""
    then = time.time() - seconds
    os.utime(shelf.locate(info.id) or "", (then, then))


def to_disk(shelf: Shelf, info: ArrayInfo) -> int:
    assert shelf.disk is not None
    return spill(shelf, shelf.disk, info.id)


def back(shelf: Shelf, info: ArrayInfo) -> bool:
    assert shelf.disk is not None
    return promote(shelf, shelf.disk, info.id)


# --- over the budget


def test_what_does_not_fit_is_spilled_and_read_on(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(8)]
    assert shelf.ledger.used <= shelf.ledger.budget
    assert len(shelf.spilled()) == 4
    assert set(shelf.ids()) == {info.id for info in infos}
    for number, info in enumerate(infos):
        assert (read(shelf, info) == number).all()
        assert shelf.info(info.id) == info
        assert shelf.has(info.id)


def test_who_comes_while_the_disk_is_being_chosen_waits_until_it_has_its_budget(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put of a program that did not wait would find no room there."""
    monkeypatch.setenv("OUTLIVE_SPILL_TO", spill_folder)
    first, second = Shelf(str(root / "shelf"), budget=MIB), Shelf(str(root / "shelf"))
    spills = list[bool]()

    def come() -> None:
        apply(Settings(), second, str(root), "cluster", "node")
        spills.append(second.spills())

    other = threading.Thread(target=come)

    def budget(_: str) -> int:
        other.start()
        other.join(0.2)
        return 5 * MIB

    monkeypatch.setattr(settings, "default_disk_budget", budget)
    apply(Settings(), first, str(root), "cluster", "node")
    other.join()
    assert spills == [True]


def test_the_next_program_completes_the_choice_of_a_disk(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper that is killed as it starts is started again."""
    monkeypatch.setenv("OUTLIVE_SPILL_TO", spill_folder)
    first = Shelf(str(root / "shelf"), budget=MIB)
    real = first.spill_to

    def killed(path: str) -> None:
        real(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(first, "spill_to", killed)
        with pytest.raises(KeyboardInterrupt):
            apply(Settings(), first, str(root), "cluster", "node")
    apply(Settings(), first, str(root), "cluster", "node")
    assert first.spills()


def test_a_ledger_that_is_made_anew_gives_the_disk_a_budget_again(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLIVE_SPILL_TO", spill_folder)
    apply(Settings(), Shelf(str(root / "shelf"), budget=MIB), str(root), "cluster", "node")
    (root / "shelf" / "ledger").write_bytes(b"ledger 1".ljust(4096, b"\0"))
    shelf = Shelf(str(root / "shelf"))
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert shelf.spills()


def test_a_disk_that_a_keeper_adopted_gets_its_budget_from_the_next_program(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper that starts adopts what a dead node left on disk, before any program opens a store."""
    monkeypatch.delenv("OUTLIVE_DISK", raising=False)
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    shelf.spill_to(spill_folder)
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert shelf.spills()
    apply(Settings(disk=0), shelf, str(root), "cluster", "node")
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert not shelf.spills()  # somebody said so


def test_a_disk_that_was_chosen_keeps_its_budget_if_what_it_holds_cannot_be_counted(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would set it again, and nothing would ever be spilled."""
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    monkeypatch.setattr(Disk, "is_empty", lambda _: False)
    monkeypatch.setattr(type(shelf.tiers), "recount", lambda _: os.listdir(str(root / "gone")))
    monkeypatch.setenv("OUTLIVE_SPILL_TO", spill_folder)
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert shelf.disk is not None
    assert shelf.spills()


def test_what_is_put_on_a_disk_that_is_chosen_during_a_count_is_counted(
    root: Path, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper counts as it starts."""
    first, second = Shelf(str(root / "shelf"), budget=MIB), Shelf(str(root / "shelf"))
    counts = first.tiers._counts

    def then_chosen(*args: Any) -> Any:
        monkeypatch.setattr(first.tiers, "_counts", counts)
        found = counts(*args)
        apply(Settings(disk=5 * MIB, spill_to=spill_folder), second, str(root), "cluster", "node")
        put(second, 1, 2 * COUNT)
        return found

    monkeypatch.setattr(first.tiers, "_counts", then_chosen)
    first.recount()
    assert_counted(first)
    assert first.ledger.disk.used > 0


def test_full_means_memory_and_disk(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(8)]
    with pytest.raises(StoreFull) as caught:
        put(shelf, 9)
    assert "of the budget of 4.5 MiB are free" in str(caught.value)
    assert "on disk" in str(caught.value)
    assert shelf.disk is not None
    assert shelf.disk.path in str(caught.value)
    assert all((read(shelf, info) == number).all() for number, info in enumerate(infos))
    shelf.delete(infos[0].id)
    assert (read(shelf, put(shelf, 9)) == 9).all()


def test_least_recently_read_go_first(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(4)]
    for seconds, info in zip((100, 400, 300, 200), infos, strict=True):
        age(shelf, info, seconds)
    before = os.stat(shelf.locate(infos[1].id) or "").st_mtime_ns
    read(shelf, infos[1])
    assert os.stat(shelf.locate(infos[1].id) or "").st_mtime_ns == before  # when it was put stays
    assert [one.array_id for one in candidates(shelf)] == [infos[place].id for place in (2, 3, 0, 1)]
    put(shelf, 5)
    assert [on_disk(shelf, info) for info in infos] == [False, False, True, False]


def test_larger_than_memory_goes_straight_to_disk(root: Path, spill_folder: str) -> None:
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    shelf.spill_to(spill_folder)
    shelf.ledger.disk.budget = 64 * MIB
    small = put(shelf, 1, 10)
    large = put(shelf, 2, 4 * COUNT)
    assert on_disk(shelf, large) and not on_disk(shelf, small)
    draft = Draft.make(
        shelf, segment.describe("'<i8'", (2 * COUNT,), 2 * MIB, fortran=False, store="default", key="k", version=1)
    )
    out = mapped(draft)
    out[:] = 3
    draft.detach()
    draft.seal(shelf.ledger.epoch)
    out[:] = 4  # its own pages now
    assert on_disk(shelf, draft.info)
    assert (read(shelf, draft.info) == 3).all()
    named = Reader(shelf).named("default", "k")
    assert named is not None
    assert (named == 3).all()
    with pytest.raises(StoreFull):
        put(shelf, 5, 4 * COUNT, pin=True)
    assert_counted(shelf)


def test_pinned_stay(shelf: Shelf) -> None:
    pinned = [put(shelf, number, pin=True) for number in range(3)]
    others = [put(shelf, number) for number in range(4)]
    assert not any(on_disk(shelf, info) for info in pinned)
    assert sum(on_disk(shelf, info) for info in others) == 3
    assert to_disk(shelf, pinned[0]) == 0
    assert put(shelf, 8, pin=True)
    with pytest.raises(StoreFull):
        put(shelf, 9, pin=True)
    for info in pinned:
        shelf.delete(info.id)
    again = put(shelf, 3)  # in the segment of one that was pinned
    assert os.stat(shelf.locate(again.id) or "").st_mode & stat.S_ISVTX == 0


def test_mapped_are_never_spilled(shelf: Shelf) -> None:
    held = [put(shelf, number) for number in range(3)]
    views = [read(shelf, info) for info in held]
    for info in held:
        assert to_disk(shelf, info) == 0  # also where /proc/locks does not tell
        assert not on_disk(shelf, info)
    others = [put(shelf, number) for number in range(3, 7)]
    assert not any(on_disk(shelf, info) for info in held)
    assert sum(on_disk(shelf, info) for info in others) == 3
    assert all((view == number).all() for number, view in enumerate(views))
    views.clear()
    gc.collect()
    assert to_disk(shelf, held[0]) == pages(held[0].size)


@pytest.mark.skipif(not os.access("/proc/locks", os.R_OK), reason="no list of locks here")
def test_mapped_are_known_beforehand(shelf: Shelf) -> None:
    held, other = put(shelf, 1), put(shelf, 2)
    view = read(shelf, held)
    assert [one.array_id for one in candidates(shelf)] == [other.id]
    del view
    gc.collect()
    assert {one.array_id for one in candidates(shelf)} == {held.id, other.id}


def test_nothing_to_spill_goes_to_disk(shelf: Shelf) -> None:
    views = [read(shelf, put(shelf, number)) for number in range(4)]
    info = put(shelf, 5)
    assert on_disk(shelf, info)
    assert len(views) == 4


def test_a_copied_segment_is_the_same_file(shelf: Shelf) -> None:
    info = put(shelf, 7)
    path = shelf.locate(info.id) or ""
    age(shelf, info, 1000)
    before, data = os.stat(path), Path(path).read_bytes()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert to_disk(shelf, info) > MIB
    path = shelf.locate(info.id) or ""
    after = os.stat(path)
    assert Path(path).read_bytes() == data
    assert (after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (before.st_mtime_ns, 0o600)
    assert after.st_atime_ns == before.st_atime_ns
    assert back(shelf, info)
    path = shelf.locate(info.id) or ""
    assert Path(path).read_bytes() == data
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert not on_disk(shelf, info)


@pytest.mark.parametrize("count", [0, 3, COPY_BELOW // 8 - 100, COPY_BELOW // 8 + 5])
def test_small_ones_too(shelf: Shelf, count: int) -> None:
    info = put(shelf, 1, count)
    assert to_disk(shelf, info) == pages(info.size)
    assert on_disk(shelf, info)
    assert (read(shelf, info) == 1).all()
    assert_counted(shelf)
    assert back(shelf, info)
    assert (read(shelf, info) == 1).all()
    assert_counted(shelf)
    assert shelf.ledger.disk.used == 0


def test_the_disk_has_no_room(shelf: Shelf) -> None:
    shelf.ledger.disk.budget = MIB // 2
    infos = [put(shelf, number) for number in range(4)]
    with pytest.raises(NoRoomOnDisk):
        to_disk(shelf, infos[0])
    with pytest.raises(StoreFull):
        put(shelf, 5)
    assert_counted(shelf)
    small = put(shelf, 6, COUNT // 8)
    assert (read(shelf, small) == 6).all()


def test_a_budget_of_nothing_spills_nothing(shelf: Shelf) -> None:
    spilled = put(shelf, 0)
    to_disk(shelf, spilled)
    shelf.ledger.disk.budget = 0
    for number in range(4):
        put(shelf, number)
    with pytest.raises(StoreFull) as caught:
        put(shelf, 5)
    assert "on disk" not in str(caught.value)
    assert (read(shelf, spilled) == 0).all()


# --- deleting


def test_deleted_on_disk(shelf: Shelf) -> None:
    info = put(shelf, 1)
    to_disk(shelf, info)
    view = read(shelf, info)
    assert shelf.delete(info.id)
    assert not shelf.has(info.id) and not shelf.delete(info.id)
    with pytest.raises(ArrayNotFound):
        read(shelf, info)
    assert (view == 1).all()
    assert shelf.ledger.disk.used == pages(info.size)  # what is still mapped counts
    assert_counted(shelf)
    del view
    gc.collect()
    assert shelf.disk is not None
    assert shelf.disk.pool.trim() == pages(info.size)
    assert shelf.ledger.disk.used == 0


def test_deleted_while_it_is_copied(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    from outlive.arrays.spill import move

    copy = move._fill
    for move_it in (to_disk, back):
        info = put(shelf, 1)
        if move_it is back:
            to_disk(shelf, info)

        def deleted(*arguments: object, info: ArrayInfo = info) -> None:
            copy(*arguments)  # type: ignore[arg-type]
            assert shelf.delete(info.id)

        with monkeypatch.context() as patch:
            patch.setattr(move, "_fill", deleted)
            assert not move_it(shelf, info)
        assert not shelf.has(info.id)
        assert_counted(shelf)


def test_read_while_it_is_copied(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes after the copy began keeps it in memory."""
    from outlive.arrays.spill import move

    info, copy, views = put(shelf, 1), move._fill, []

    def viewed(*arguments: object) -> None:
        copy(*arguments)  # type: ignore[arg-type]
        views.append(read(shelf, info))

    monkeypatch.setattr(move, "_fill", viewed)
    assert to_disk(shelf, info) == 0
    assert not on_disk(shelf, info)
    assert shelf.ledger.disk.used == 0
    assert (views[0] == 1).all()


# --- back to memory


def test_a_hot_array_comes_back(shelf: Shelf) -> None:
    info = put(shelf, 1)
    age(shelf, info, 1000)
    to_disk(shelf, info)
    read(shelf, info)
    assert os.listdir(shelf.hot) == []
    read(shelf, info)  # soon after
    assert os.listdir(shelf.hot) == [info.id]
    assert promote_hot(shelf) == 1
    assert not on_disk(shelf, info)
    assert (read(shelf, info) == 1).all()
    assert os.listdir(shelf.hot) == []


def test_an_array_that_is_spilled_again_comes_back_again_although_one_process_reads_it_all_the_time(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process marked each array once, for as long as it lived."""
    info, reader, disk = Writer(shelf).put(np.arange(COUNT)), Reader(shelf), shelf.disk
    assert disk is not None
    for _ in range(3):
        spill(shelf, disk, info.id)
        reader.view(info)
        reader.view(info)  # no view of it is left
        assert promote_hot(shelf) == 1
        now = time.monotonic() + 61
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)


def test_hot_takes_the_place_of_cold_but_not_of_hot(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(5)]
    spilled = next(info for info in infos if on_disk(shelf, info))
    for _ in range(2):
        read(shelf, spilled)
    assert promote_hot(shelf) == 0  # all others have just been put
    assert on_disk(shelf, spilled)
    others = [info for info in infos if info is not spilled]
    age(shelf, others[0], 1000)
    age(shelf, others[1], 2000)

    for _ in range(2):
        read(shelf, spilled)
    assert promote_hot(shelf) == 1
    assert not on_disk(shelf, spilled)
    assert [on_disk(shelf, info) for info in others] == [True, True, False, False]


def test_promoted_under_a_reader(shelf: Shelf) -> None:
    info = put(shelf, 1)
    to_disk(shelf, info)
    view = read(shelf, info)
    assert back(shelf, info)
    assert (view == 1).all()
    assert shelf.ledger.disk.used == pages(info.size)  # still mapped
    assert (read(shelf, info) == 1).all()
    del view
    gc.collect()
    assert_counted(shelf)


def test_to_and_fro_under_readers(shelf: Shelf) -> None:
    """Each file that somebody looks at stays, and is counted, though all are of the same array."""
    info, views = put(shelf, 1), []
    for _ in range(2):
        to_disk(shelf, info)
        views.append(read(shelf, info))
        assert back(shelf, info)
        assert_counted(shelf)
    assert shelf.ledger.disk.used == 2 * pages(info.size)
    assert shelf.recount() == 0
    assert all((view == 1).all() for view in views)


def test_the_keeper_spills_ahead(shelf: Shelf) -> None:
    for number in range(3):
        put(shelf, number)
    assert spill_ahead(shelf) == 0
    put(shelf, 4)
    put(shelf, 5, COUNT // 4)
    assert spill_ahead(shelf) > 0
    assert spill_ahead(shelf) == 0  # and not again because what it spilled waits in the pool
    used = shelf.ledger.used
    put(shelf, 6)
    assert shelf.ledger.used == used  # in a segment that was spilled, warm


# --- one after the other


def test_several_writers_at_once(shelf: Shelf) -> None:
    shelf.ledger.disk.budget = 64 * MIB
    errors, infos = [], []

    def write(number: int) -> None:
        own = Shelf(shelf.path)
        try:
            for step in range(8):
                infos.append((number * 100 + step, put(own, number * 100 + step)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(shelf.ids()) == 32
    assert shelf.ledger.used <= shelf.ledger.budget
    assert all((read(shelf, info) == number).all() for number, info in infos)


def test_no_room_is_made_for_what_never_fits(shelf: Shelf) -> None:
    info = put(shelf, 1)
    assert not make_room(shelf, 5 * MIB)
    assert not on_disk(shelf, info)


def test_keys_lead_to_disk(shelf: Shelf) -> None:
    catalog = Catalog(shelf)
    for number in range(6):
        catalog.commit(Writer(shelf).draft_of(np.full(COUNT, number), key=str(number)))
    assert len(shelf.spilled()) == 2
    for number in range(6):
        for info in shelf.scan():
            forget(info.id)
        view = Reader(shelf).named("default", str(number))
        assert view is not None
        assert (view == number).all()
    del view
    assert shelf.names.sweep(shelf.has) == 0
    catalog.restart()
    assert catalog.index.count("default") == 6
    catalog.commit(Writer(shelf).draft_of(np.full(COUNT, 9), key="0"))
    catalog.drop_replaced()
    assert len(shelf.ids()) == 6
    assert all(catalog.delete(str(number)) for number in range(6))
    assert shelf.ids() == []


def test_checked_wherever_they_are(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(6)]
    assert compute_checksums(shelf, older_than=-1) == 6
    assert set(Checksums(f"{shelf.path}/checksums").load()) == {info.id for info in infos}
    spilled = next(info for info in infos if on_disk(shelf, info))
    path = Path(shelf.locate(spilled.id) or "")
    data = path.read_bytes()
    path.write_bytes(data[: spilled.offset] + b"?" + data[spilled.offset + 1 :])
    [finding] = check(shelf)
    assert finding[:2] == ("flipped", str(path))
    path.write_bytes(data)


def test_a_double_is_mended(shelf: Shelf) -> None:
    """As if killed between the two renames."""
    info = put(shelf, 1)
    copy = Path(shelf.locate(info.id) or "").read_bytes()
    assert shelf.disk is not None
    Path(shelf.disk.mem, info.id).write_bytes(copy)
    assert {finding.problem for finding in check(shelf)} == {"double", "miscounted"}
    assert shelf.ids() == [info.id]
    Path(shelf.disk.mem, info.id).write_bytes(copy)
    shelf.recount()
    assert to_disk(shelf, info) > 0
    assert_counted(shelf)
    Path(shelf.mem, info.id).write_bytes(copy)
    shelf.recount()
    assert not back(shelf, info)
    assert shelf.delete(info.id)
    assert shelf.ids() == []


# --- which folder


def test_all_processes_follow(root: Path, spill_folder: str) -> None:
    one, other = Shelf(str(root / "shelf"), budget=MIB), Shelf(str(root / "shelf"))
    assert other.disk is None
    one.spill_to(spill_folder)
    one.ledger.disk.budget = 8 * MIB
    assert other.disk is not None
    assert other.disk.path == spill_folder
    info = put(other, 1, 2 * COUNT)
    assert (read(one, info) == 1).all()
    with pytest.raises(ValueError, match="spilled to"):
        one.spill_to(f"{spill_folder}-2")
    one.delete(info.id)
    one.spill_to(f"{spill_folder}-2")
    assert not os.path.exists(spill_folder)
    assert put(other, 1, 2 * COUNT)
    assert os.listdir(f"{spill_folder}-2/mem")
    one.remove()
    assert not os.path.exists(f"{spill_folder}-2")


def test_private(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"))
    (root / "open").mkdir(mode=0o755)
    (root / "link").symlink_to(root)
    for name in ("open", "link"):
        with pytest.raises(UnsafeRoot):
            shelf.spill_to(str(root / name))
    assert shelf.disk is None
    shelf.spill_to(str(root / "mine"))
    for folder in ("", "mem", "new", "free"):
        assert (root / "mine" / folder).stat().st_mode & 0o777 == 0o700


def test_arrays_of_a_shelf_that_was_removed_are_back(shelf: Shelf) -> None:
    info = put(shelf, 1)
    to_disk(shelf, info)
    assert shelf.disk is not None
    again = Shelf(f"{shelf.path}-2", budget=MIB)
    again.spill_to(shelf.disk.path)
    assert (read(again, info) == 1).all()
    assert_counted(again)


def test_a_cleared_disk_is_made_anew(shelf: Shelf) -> None:
    import shutil

    info = put(shelf, 1)
    to_disk(shelf, info)
    assert shelf.disk is not None
    shutil.rmtree(shelf.disk.path)
    with pytest.raises(ArrayNotFound):
        read(shelf, info)
    other = put(shelf, 2)
    assert to_disk(shelf, other) > 0
    assert (read(shelf, other) == 2).all()
    assert "miscounted" in {finding.problem for finding in check(shelf)}


WITHOUT_A_DISK: dict[str, Callable[[Shelf], object]] = {
    "list": lambda shelf: listing.Listing(shelf).part(None),
    "scan": lambda shelf: list(shelf.scan()),
    "spilled": lambda shelf: shelf.spilled(),
    "recount": lambda shelf: shelf.recount(),
    "clear orphans": lambda shelf: list(clear_orphans(shelf)),
    "mend doubles": lambda shelf: list(mend_doubles(shelf)),
    "put": lambda shelf: [put(shelf, number) for number in range(8)],
    "wait for room": lambda shelf: may_come(shelf),
    "free": lambda shelf: shelf.disk and shelf.disk.pool.trim(),
    "open another": lambda shelf: Shelf(shelf.path).ids(),
    "spill elsewhere": lambda shelf: shelf.spill_to(f"{shelf.disk and shelf.disk.path}-2"),
    "leave": lambda shelf: shelf.leave(lambda: not shelf.ids()),
}


@pytest.mark.parametrize("do", WITHOUT_A_DISK)
def test_what_needs_no_array_of_a_cleared_disk_goes_on(shelf: Shelf, do: str) -> None:
    """Until the keeper has made its folders again, some tenths of a second later."""
    import shutil

    assert shelf.disk is not None
    shutil.rmtree(shelf.disk.path)
    WITHOUT_A_DISK[do](shelf)
    if shelf.exists():
        shelf.disk.make_again()


def test_copies_of_the_dead_are_cleared(shelf: Shelf) -> None:
    assert shelf.disk is not None
    for place in (shelf, shelf.disk):
        folder = Path(place.new, "0123456789abcdef")
        folder.mkdir(mode=0o700)
        (folder / f"{'0' * 32}{COPY}").write_bytes(bytes(5000))
    shelf.recount()
    assert disk_usage(shelf) == disk_usage(shelf.disk) == 8192
    assert [finding.problem for finding in check(shelf)] == ["abandoned"] * 2
    assert shelf.ledger.used == shelf.ledger.disk.used == 0


# --- settings


def test_settings(root: Path, monkeypatch: pytest.MonkeyPatch, spill_folder: str) -> None:
    monkeypatch.delenv("OUTLIVE_DISK", raising=False)
    shelf = Shelf(str(root / "shelf"))
    monkeypatch.setenv("OUTLIVE_SPILL_TO", spill_folder)
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert shelf.disk is not None
    assert shelf.disk.path == f"{spill_folder}/cluster/node"
    free = os.statvfs(spill_folder)
    assert 0 < shelf.ledger.disk.budget <= free.f_bavail * free.f_frsize // 2 + 64 * MIB
    apply(Settings.of("3MiB", "7 MiB", None), shelf, str(root), "cluster", "node")
    assert (shelf.ledger.budget, shelf.ledger.disk.budget) == (3 * MIB, 7 * MIB)
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert shelf.ledger.disk.budget == 7 * MIB
    apply(Settings.of(None, 0, None), shelf, str(root), "cluster", "node")
    assert not shelf.spills()
    apply(Settings(), shelf, str(root), "cluster", "node")
    assert not shelf.spills()  # it was said
    with pytest.raises(ValueError, match="not a size"):
        Settings.of(None, "much", None)
    with pytest.raises(ValueError, match="cannot spill to /proc"):
        apply(Settings.of(None, None, "/proc/nowhere"), shelf, str(root), "cluster", "node")


def test_settings_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_SPILL_TO", str(root / "there"))
    monkeypatch.setenv("OUTLIVE_DISK", "5MiB")
    shelf = Shelf(str(root / "shelf"))
    apply(Settings(), shelf, str(root), "c", "n")
    assert shelf.ledger.disk.budget == 5 * MIB
    monkeypatch.setenv("OUTLIVE_DISK", "0")
    shelf = Shelf(str(root / "shelf 2"))
    apply(Settings(), shelf, str(root), "c", "n2")
    assert not shelf.spills()


def test_threads_that_use_the_disk_first_have_one(shelf: Shelf) -> None:
    """Else a draft of one would be in a folder that nobody holds, and be taken for a dead writer's."""
    for _ in range(50):
        other, barrier, found = Shelf(shelf.path), threading.Barrier(4), list[Any]()

        def look(other: Shelf = other, barrier: threading.Barrier = barrier, found: list[Any] = found) -> None:
            barrier.wait()
            found.append(other.disk)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4 and len(set(map(id, found))) == 1


def test_the_keeper_holds_a_folder_on_disk_that_was_made_again(shelf: Shelf, spill_folder: str) -> None:
    tending = Tending(shelf, "a", None)  # type: ignore[arg-type]
    tending.balance()
    assert not can_lock(spill_folder)
    shutil.rmtree(spill_folder)
    tending.balance()
    tending.trim()
    tending.balance()
    assert not can_lock(spill_folder)
    assert sum(os.readlink(f"/proc/self/fd/{fd}").startswith(spill_folder) for fd in descriptors()) == 1


def descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_a_folder_on_disk_that_cannot_be_held_costs_no_descriptor_of_others(
    shelf: Shelf, spill_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper closed the one that it held before once more each second, whatever had its number by then."""
    tending, opened = Tending(shelf, "a", None), os.open  # type: ignore[arg-type]
    tending.balance()
    shelf.spill_to(f"{spill_folder}-2")

    def refuse(path: str, flags: int, *mode: int) -> int:
        if path == f"{spill_folder}-2":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(PermissionError):
            tending.balance()
        others = [opened(os.devnull, os.O_RDONLY) for _ in range(3)]
        with pytest.raises(PermissionError):
            tending.balance()
    tending.balance()
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in others] == [os.devnull] * 3
    for fd in others:
        os.close(fd)
    assert not can_lock(f"{spill_folder}-2")
