"""Ledger, drafts, orphans, recount: the parts of a shelf, each by itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays import disk as disks
from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.info import new_version
from outlive.arrays.layout import LEDGER
from outlive.arrays.ledger import Ledger
from outlive.arrays.lock import try_lock
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf, StaleEpoch
from outlive.arrays.staging import orphans
from outlive.arrays.tend.fsck import check, check_shelf, clear_orphans
from outlive.arrays.writer import Writer, mapped
from outlive.errors import ArrayNotFound, StoreUnavailable
from tests.forking import kill

from .local_store import disk_usage

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
DEADLINE = 60.0  # seconds until a test gives up


@contextlib.contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """A child that does `work` and then waits to be killed; the block begins once it is done."""
    done, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = work()  # kept, as a process keeps what it uses
            os.write(end, b"\1")
            signal.pause()
            del result
        finally:
            os._exit(1)
    os.close(end)
    try:
        assert os.read(done, 1) == b"\1", "the child failed"
        yield pid
    finally:
        kill(pid)
        os.close(done)


def ends(work: Callable[[], object]) -> bool:
    """Whether `work` ends before the deadline."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return not thread.is_alive()


# --- ledger


def test_ledger_is_shared(root: Path) -> None:
    one, other = Ledger(str(root / "ledger")), Ledger(str(root / "ledger"))
    with one.locked():
        one.used, one.budget, one.epoch = 1, 1 << 50, 3
    assert (other.used, other.budget, other.epoch) == (1, 1 << 50, 3)
    with other.locked(), other.locked():
        other.used += 1
    assert one.used == 2
    assert (root / "ledger").stat().st_blocks * 512 >= 4096  # no hole: writing to it cannot fail


@pytest.mark.parametrize("content", [b"", b"ledger 0", bytes(4096), b"x" * 10_000])
def test_ledger_that_is_none_is_made_anew(root: Path, content: bytes) -> None:
    (root / "ledger").write_bytes(content)
    ledger = Ledger(str(root / "ledger"))
    assert (ledger.used, ledger.budget, ledger.epoch) == (0, 0, 0)


def test_ledger_counts_of_threads_and_processes(root: Path) -> None:
    ledger = Ledger(str(root / "ledger"))

    def count() -> None:
        for _ in range(200):
            with ledger.locked():
                ledger.used += 1

    def count_in_threads() -> None:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with forked(count_in_threads), forked(count_in_threads):
        pass
    count_in_threads()
    assert ledger.used == 2400


def held(ledger: Ledger) -> contextlib.ExitStack:
    """The ledger's lock, until what is returned is closed."""
    stack = contextlib.ExitStack()
    stack.enter_context(ledger.locked())
    return stack


def test_ledgers_lock_goes_with_its_holder(root: Path) -> None:
    ledger = Ledger(str(root / "ledger"))
    with forked(lambda: held(ledger)) as holder:
        kill(holder)
        assert ends(lambda: held(ledger).close())


def test_ledgers_lock_is_not_kept_by_a_holders_child(root: Path) -> None:
    """A process forks (as a data loader does), takes the lock, and is killed; its child lives on."""
    path, pid_of_child = str(root / "ledger"), root / "child"
    ledger = Ledger(path)

    def hold() -> contextlib.ExitStack:
        own = Ledger(path)
        child = os.fork()
        if child == 0:
            signal.pause()
        pid_of_child.write_text(str(child))
        return held(own)

    with forked(hold) as holder:
        kill(holder)
        try:
            assert ends(lambda: held(ledger).close())
        finally:
            os.kill(int(pid_of_child.read_text()), signal.SIGKILL)


# --- drafts


def test_draft_is_invisible_until_sealed(shelf: Shelf) -> None:
    draft = Writer(shelf).draft_of(np.arange(5), key="k")
    assert shelf.ids() == list(shelf.scan()) == []
    assert not shelf.has(draft.info.id)
    with pytest.raises(ArrayNotFound, match="'k'"):
        Reader(shelf).view(draft.info)
    draft.seal()
    assert shelf.ids() == [draft.info.id]
    draft.seal(shelf.ledger.epoch)  # again: as if a reader had sealed it for its writer
    assert Reader(shelf).view(draft.info).tolist() == [0, 1, 2, 3, 4]


def test_discarded_draft_leaves_nothing(shelf: Shelf) -> None:
    drafts = [
        Writer(shelf).draft_of(np.arange(5000)),
        Draft.make(shelf, Writer(shelf).draft_of(np.arange(3)).info._replace(id="f" * 32)),
    ]
    mapped(drafts[1])
    for draft in drafts:
        draft.discard()
        draft.discard()
    assert shelf.ledger.used == disk_usage(shelf) == 0  # that of the one that described the other was forgotten


def test_discard_after_seal_does_nothing(shelf: Shelf) -> None:
    draft = Writer(shelf).draft_of(np.arange(5))
    draft.seal()
    draft.discard()
    assert Reader(shelf).view(draft.info).tolist() == [0, 1, 2, 3, 4]


def test_seal_under_an_epoch_that_has_ended(shelf: Shelf) -> None:
    first, second = Writer(shelf).draft_of(np.arange(5), key="k"), Writer(shelf).draft_of(np.arange(6), key="l")
    epoch = shelf.raise_epoch()
    shelf.seal_many([first], epoch)
    later = shelf.raise_epoch()
    assert later > epoch
    with pytest.raises(StaleEpoch):
        shelf.seal_many([first, second], epoch)
    assert not shelf.finish(second.info.id, epoch)
    assert shelf.ids() == [first.info.id]
    assert shelf.finish(second.info.id, later)
    assert set(shelf.ids()) == {first.info.id, second.info.id}


def test_restamp(shelf: Shelf) -> None:
    draft = Writer(shelf).draft_of(np.arange(5), key="k")
    before = draft.info
    draft.restamp(new_version(after=before.version + 10**12))
    draft.seal()
    assert draft.info == before._replace(version=draft.info.version) == shelf.info(before.id)
    assert draft.info.version > before.version + 10**12
    assert Reader(shelf).view(draft.info).tolist() == [0, 1, 2, 3, 4]


def test_what_its_maker_keeps_is_no_way_into_a_created_array(shelf: Shelf) -> None:
    info = segment.describe("'<i8'", (9000,), 72000, fortran=False, store="s", key=None, version=new_version())
    draft = Draft.make(shelf, info)
    out = mapped(draft)
    out[:] = 1
    rows, pointer = out.reshape(3, -1), memoryview(out).cast("B")
    draft.detach()
    draft.seal()
    view = Reader(shelf).view(info)
    out[0], rows[1, 0], pointer[-1] = 5, 5, 5
    assert (view == 1).all()
    assert (np.load(f"{shelf.mem}/{info.id}") == 1).all()


def test_delete_of_a_draft(shelf: Shelf) -> None:
    draft = Writer(shelf).draft_of(np.arange(5))
    assert shelf.delete(draft.info.id)
    assert not shelf.delete(draft.info.id)
    with pytest.raises(StoreUnavailable, match="put it again"):
        draft.seal(shelf.ledger.epoch)
    assert shelf.ids() == []
    assert shelf.ledger.used == 0


# --- the dead


def test_drafts_of_the_living_stay(shelf: Shelf) -> None:
    own = Writer(shelf).draft_of(np.arange(5))
    with forked(lambda: Writer(Shelf(shelf.path)).draft_of(np.arange(6))):
        assert list(orphans(shelf.new)) == []
        assert check(shelf) == []
    own.seal()
    assert shelf.has(own.info.id)


def test_drafts_of_the_dead_go(shelf: Shelf) -> None:
    with forked(lambda: Writer(Shelf(shelf.path)).draft_of(np.arange(6))):
        assert shelf.ledger.used == 4096
    [finding] = clear_orphans(shelf)
    assert finding.problem == "abandoned"
    assert shelf.ledger.used == disk_usage(shelf) == 0
    assert os.listdir(shelf.new) == []


def test_an_incomplete_draft_of_an_array_that_is_there_goes(shelf: Shelf) -> None:
    """Its keeper died before it could mark it as a copy, and made another."""
    info = Writer(shelf).put(np.full(5, 1), store="s")
    Draft.make(shelf, info).settled = True  # nobody else discards it
    assert shelf._staging is not None
    shelf._staging.close()
    shelf._staging = None
    for _ in range(2):
        list(clear_orphans(shelf, lambda ids: set(ids)))
        assert not shelf.has_draft(info.id) and shelf.has(info.id)
    assert shelf.recount() == 0


def test_listed_drafts_of_the_dead_are_sealed(shelf: Shelf) -> None:
    def leave() -> Any:
        return [Writer(Shelf(shelf.path)).draft_of(np.arange(6), key=key) for key in "abc"]

    with forked(leave):
        listed = {path.name for path in Path(shelf.new).glob("*/*") if segment_key(path) != "b"}
    findings = sorted(finding.problem for finding in clear_orphans(shelf, lambda ids: listed & set(ids)))
    assert findings == ["abandoned", "unfinished", "unfinished"]
    assert {info.key for info in shelf.scan()} == {"a", "c"}
    assert shelf.ledger.used == disk_usage(shelf) == 2 * 4096


def test_drafts_of_the_dead_wait_if_another_catalog_comes(shelf: Shelf) -> None:
    """The answer may be that of the new catalog, and then it has listed the draft for good."""

    def leave() -> Any:
        return Writer(Shelf(shelf.path)).draft_of(np.arange(6), key="a")

    def listed(ids: list[str]) -> set[str]:
        shelf.raise_epoch()
        return set(ids)

    with forked(leave):
        pass
    assert list(clear_orphans(shelf, listed)) == []
    assert [finding.problem for finding in clear_orphans(shelf, set)] == ["unfinished"]
    assert [info.key for info in shelf.scan()] == ["a"]


def test_no_catalog_comes_while_a_dead_writers_draft_is_discarded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would list the draft, and believe that the shelf has it."""
    came = []
    delete_draft = Shelf.delete_draft

    def come_in_between(own: Shelf, path: str) -> bool:
        with open(f"{shelf.path}/{LEDGER}", "rb") as file:
            came.append(try_lock(file.fileno()))  # as another process that raises the epoch has to
        return delete_draft(own, path)

    with forked(lambda: Writer(Shelf(shelf.path)).draft_of(np.arange(6), key="a")):
        pass
    monkeypatch.setattr(Shelf, "delete_draft", come_in_between)
    assert [finding.problem for finding in clear_orphans(shelf)] == ["abandoned"]
    assert came == [False]


def test_what_others_put_among_drafts_holds_up_nothing(shelf: Shelf) -> None:
    dead = f"{shelf.new}/dead"
    os.mkdir(dead)
    for ending in ("", ".batch", ".copy", ".gate"):
        os.mkdir(f"{dead}/{'0' * 32}{ending}")
    with forked(lambda: Writer(Shelf(shelf.path)).draft_of(np.arange(6))):
        pass
    assert "abandoned" in {finding.problem for finding in clear_orphans(shelf)}
    assert os.listdir(shelf.new) == ["dead"]


def segment_key(path: Path) -> str | None:
    with path.open("rb") as file:
        return segment.read_info(file.fileno(), str(path)).key


def test_a_forked_child_does_not_keep_its_parents_drafts_alive(shelf: Shelf) -> None:
    pid_of_child = Path(shelf.path).parent / "child"

    def leave() -> Any:
        own = Shelf(shelf.path)
        draft = Writer(own).draft_of(np.arange(6))
        child = os.fork()
        if child == 0:
            signal.pause()
        pid_of_child.write_text(str(child))
        return own, draft

    with forked(leave):
        pass
    try:
        deadline = time.monotonic() + DEADLINE  # the fork may still be on its way to let go
        while not (findings := list(clear_orphans(shelf))) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [finding.problem for finding in findings] == ["abandoned"]
    finally:
        os.kill(int(pid_of_child.read_text()), signal.SIGKILL)


def test_a_child_writes_in_a_folder_of_its_own(shelf: Shelf) -> None:
    Writer(shelf).draft_of(np.arange(5))
    with forked(lambda: Writer(shelf).draft_of(np.arange(6))):
        assert len(os.listdir(shelf.new)) == 2
    assert [finding.problem for finding in clear_orphans(shelf)] == ["abandoned"]
    assert len(os.listdir(shelf.new)) == 1


# --- recount and check


def test_recount(shelf: Shelf) -> None:
    Writer(shelf).put(np.arange(5000))
    draft = Writer(shelf).draft_of(np.arange(7000))
    used = shelf.ledger.used
    with shelf.ledger.locked():
        shelf.ledger.used += 12345
    [finding] = check(shelf)
    assert (finding.problem, finding.mended) == ("miscounted", True)
    assert "12.1 KiB" in finding.action
    assert shelf.ledger.used == used == disk_usage(shelf)
    draft.discard()


def test_recount_with_drafts_of_one_name(shelf: Shelf) -> None:
    """Keepers were killed as they copied an array, and the next one has it: three files, and one id."""
    info = Writer(shelf).put(np.arange(5000))
    one = shelf.ledger.used
    for writer in "0123456789abcdef", "fedcba9876543210":
        os.mkdir(f"{shelf.new}/{writer}", 0o700)
        with shelf.ledger.locked():
            shutil.copy2(f"{shelf.mem}/{info.id}", f"{shelf.new}/{writer}/{info.id}")
            shelf.ledger.used += one
    assert shelf.recount() == 0 and shelf.ledger.used == 3 * one
    assert len(list(clear_orphans(shelf))) == 2
    assert shelf.ledger.used == disk_usage(shelf) and shelf.has(info.id)


def test_recount_while_a_draft_is_sealed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing without a key takes no lock: a file moves from new/ to mem/ in the middle of the count."""
    draft = Writer(shelf).draft_of(np.arange(5000))
    _after_first(monkeypatch, draft.seal)
    assert shelf.recount() == 0
    monkeypatch.undo()
    assert shelf.has(draft.info.id)
    assert shelf.ledger.used == disk_usage(shelf)


def test_recount_while_a_writer_leaves(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes its folder, which takes no lock either."""
    Writer(shelf).put(np.arange(5000))
    leaving = Path(shelf.new, "0123456789abcdef")
    leaving.mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path) == str(leaving):
            leaving.rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert shelf.recount() == 0


def _after_first(monkeypatch: pytest.MonkeyPatch, event: Callable[[], object]) -> None:
    """Have `event` happen once the first folder with files has been listed."""
    real, events = os.scandir, [event]

    def scandir(path: Any) -> Any:
        found = list(real(path))
        if events and (found == [] or any(entry.is_file() for entry in found)):
            events.pop()()
        return iter(found)

    monkeypatch.setattr(os, "scandir", scandir)


def test_check_of_a_sound_shelf_says_nothing(shelf: Shelf) -> None:
    for count in (0, 5, 50_000):
        Writer(shelf).put(np.arange(count), key=str(count))
    assert check(shelf) == []
    findings, sizes = check_shelf(shelf)
    assert findings == []
    assert sizes == {info.id: info.size for info in shelf.scan()}


def test_remove(shelf: Shelf) -> None:
    view = Reader(shelf).view(Writer(shelf).put(np.arange(50_000)))
    Writer(shelf).draft_of(np.arange(5))
    shelf.remove()
    assert not os.path.exists(shelf.path)
    assert view[-1] == 49_999


@pytest.mark.parametrize("when", ["before the shelf", "after it", "while it goes"])
def test_who_spills_leaves_nothing_of_a_disk_that_is_removed(
    root: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(str(root / "cluster" / "shelf"))
    shelf.spill_to(str(root / "disk" / "cluster" / "shelf"))
    disk = Shelf(shelf.path).disk  # of another process
    assert disk is not None
    if when == "before the shelf":
        real = disks.remove
        monkeypatch.setattr(disks, "remove", lambda path: (real(path), disk.make_again()))
    elif when == "while it goes":
        answers = iter((True, False))
        monkeypatch.setattr(disk, "_ledger", SimpleNamespace(exists=lambda: next(answers)))
    shelf.remove()
    if when != "before the shelf":
        disk.make_again()
    assert not (root / "disk" / "cluster").exists()
