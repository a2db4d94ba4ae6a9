"""Ctrl-C at any moment of a put: no lock stays behind, nobody has to wait, and nothing is leaked."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from outlive.arrays import info, intent, ledger, lock, names
from outlive.arrays.changes import Changes
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import _live
from outlive.arrays.lock import FileLock, Mutex
from outlive.arrays.reader import Reader
from outlive.arrays.remains import Remains, clear_remains
from outlive.arrays.root import names_in
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.writer import Writer
from tests.arrays.interrupts import interrupted_at


def test_an_interrupt_that_comes_as_a_draft_is_forgotten_reaches_the_caller(root: Path) -> None:
    """It came into the draft's finalizer, which printed it, and lost it."""
    shelf = Shelf(str(root / "shelf"))
    swallowed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, swallowed.append
    try:
        for sealed in (True, False):
            drafts = [Writer(shelf).draft_of(np.arange(10))]
            if sealed:
                drafts[0].seal()
            assert_interrupted(drafts.clear)
    finally:
        sys.unraisablehook = hook
    assert swallowed == []
    Writer(shelf).put(np.arange(3))
    assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
    assert shelf.recount() == 0


class Forgotten:
    """Makes something, and what is called when that is forgotten."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def view(self) -> object:
        return Reader(self.shelf).view(Writer(self.shelf).put(np.arange(100_000)))

    def shelf_that_wrote(self) -> object:
        other = Shelf(self.shelf.path)
        Writer(other).put(np.arange(10))
        return other

    def changes(self) -> object:
        changes = Changes(lambda: (self.shelf.mem,))
        changes.take()
        return changes

    def lock(self) -> object:
        return FileLock(f"{self.shelf.path}/ended")

    def mutex(self) -> object:
        return Mutex()


@pytest.mark.parametrize("what", ["view", "shelf_that_wrote", "changes", "lock", "mutex"])
def test_an_interrupt_that_comes_as_something_is_forgotten_reaches_the_caller(root: Path, what: str) -> None:
    shelf = Shelf(str(root / "shelf"))
    swallowed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, swallowed.append
    Writer(shelf).put(np.arange(10))  # clears away what earlier tests left
    descriptors, before = len(os.listdir("/proc/self/fd")), not_looked_at()
    try:
        forgotten = [getattr(Forgotten(shelf), what)()]
        assert_interrupted(forgotten.clear)
    finally:
        sys.unraisablehook = hook
    assert swallowed == []
    Reader(shelf).view(Writer(shelf).put(np.arange(100_000)))  # clears away what is left
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(os.listdir(shelf.new)) == 1
    assert len(not_looked_at() - before) <= 1  # the last view's


def not_looked_at() -> set[str]:
    return {array_id for array_id, reference in _live.items() if reference() is None}


def assert_interrupted(work: Callable[[], None]) -> None:
    """Ctrl-C in what `work` calls reaches the caller."""
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        interrupt_at_next_python_call(work)
        for _ in range(1000):
            pass  # Python acts upon it between two of these


def interrupt_at_next_python_call(work: Callable[[], None]) -> None:
    """Ctrl-C in the first Python function that `work`, in C, calls; or after it, if it calls none."""

    def interrupt(*_: object) -> None:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

    sys.setprofile(lambda frame, event, _: interrupt() if event == "call" else None)
    try:
        work()
    finally:
        if sys.getprofile() is not None:
            interrupt()


def test_nothing_stays_behind(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    array, interrupts, last = np.arange(10), 0, None
    Writer(shelf).put(array)
    while interrupts < 500:
        timer = threading.Timer(random.uniform(0, 0.001), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                Writer(shelf).put(array)
        except KeyboardInterrupt as error:
            interrupts += 1
            last = error  # as IPython does; it holds on to every frame
        with (root / "shelf" / "ledger").open("r+b") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if the interrupt left it locked
        timer.join()
        if interrupts % 50 == 0:
            for array_id in shelf.ids():
                shelf.delete(array_id)
    assert isinstance(last, KeyboardInterrupt)
    del last
    clear_remains()  # as the next put does
    assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
    assert shelf.recount() == 0


def test_an_interrupt_between_any_two_calls_of_a_put_leaves_no_segment_locked(root: Path) -> None:
    """It writes a segment again. A lock that nobody lets go of would keep its memory, counted or not."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    array = np.ones(1 << 20, np.uint8)
    for step in itertools.count(1):
        shelf.delete(Writer(shelf).put(array).id)
        interrupted = interrupted_at(step, lambda: Writer(shelf).put(array))
        clear_remains()
        assert memory_without_a_name(shelf) == 0
        for array_id in shelf.ids():
            shelf.delete(array_id)
        shelf.pool.trim()
        assert shelf.ledger.used == 0
        if not interrupted:
            break
    assert step > 100
    assert shelf.recount() == 0


@pytest.mark.parametrize("moves", ["spill", "promote"])
@pytest.mark.parametrize("count", [10, 300_000])
def test_an_interrupt_between_any_two_calls_of_a_move_leaves_the_array_in_one_tier(
    root: Path, moves: str, count: int
) -> None:
    """What is in both is counted twice, and stays so until the next keeper starts."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    shelf.ledger.disk.budget = 1 << 30
    shelf.spill_to(str(root / "disk"))
    disk, array = shelf.disk, np.arange(count) % 251
    assert disk is not None
    disk.staging()
    for step in itertools.count(1):
        info = Writer(shelf).put(array.astype(np.uint8))
        if moves == "promote":
            spill(shelf, disk, info.id)
        move: Callable[..., object] = spill if moves == "spill" else promote
        if not interrupted_at(step, functools.partial(move, shelf, disk, info.id)):
            break
        assert len(os.listdir(shelf.mem)) + len(os.listdir(disk.mem)) == 1, step
        assert (Reader(shelf).view(info) == array).all()
        shelf.delete(info.id)
        clear_remains()
        assert shelf.recount() == 0, step
    assert step > 100


def test_a_signal_handler_that_discards_the_draft_that_was_made_last_is_counted(root: Path) -> None:
    """The names of the change before were still in the ledger, and passed for those of the change under way."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    writer, others = Writer(shelf), list[Draft]()
    for step in itertools.count(1):
        draft = writer.draft_of(np.ones(1000))
        discarded = interrupted_at(step, lambda: others.append(writer.draft_of(np.ones(3))), draft.discard)
        others.pop().discard()
        draft.discard()
        assert shelf.ledger.used == 0, step
        if not discarded:
            break
    assert step > 50


def test_a_child_that_the_generator_of_a_put_many_forks_discards_no_draft_of_its_parent(root: Path) -> None:
    """It ended by `sys.exit`, which undid the put. The parent then said that somebody had removed the draft."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)

    def arrays() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        yield "a", np.ones(300_000)
        if (child := os.fork()) == 0:
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        yield "b", np.ones(3)

    parent = os.getpid()
    try:
        drafts = Writer(shelf).drafts_of(arrays(), store="default")
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(not isinstance(error, SystemExit))
        raise
    assert shelf.seal_many(drafts) == []
    assert [Reader(shelf).view(draft.info).sum() for draft in drafts] == [300_000, 3]


@pytest.mark.parametrize("moves", ["spill", "promote"])
def test_a_child_forked_between_any_two_calls_of_a_move_changes_nothing(root: Path, moves: str) -> None:
    """It ends there by `sys.exit`, which undid what its parent was doing."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    shelf.ledger.disk.budget = 1 << 30
    shelf.spill_to(str(root / "disk"))
    disk, parent, move = shelf.disk, os.getpid(), spill if moves == "spill" else promote
    assert disk is not None
    disk.staging()

    def fork() -> None:
        if (child := os.fork()) == 0:
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0

    for step in itertools.count(1, 5):
        info = Writer(shelf).put(np.ones(300_000, np.uint8))
        if moves == "promote":
            spill(shelf, disk, info.id)
        try:
            forked = interrupted_at(step, functools.partial(move, shelf, disk, info.id), fork)
        except BaseException as error:
            if os.getpid() != parent:
                os._exit(not isinstance(error, SystemExit))
            raise
        assert len(os.listdir(shelf.mem)) == (moves == "promote"), step
        assert Reader(shelf).view(info).sum() == 300_000
        shelf.delete(info.id)
        if not forked:
            break
    assert step > 100
    assert shelf.recount() == 0


def test_an_interrupt_between_any_two_calls_of_a_discard_leaves_no_bytes_counted(root: Path) -> None:
    """A second Ctrl-C comes while the first one's draft is discarded. A large draft is set aside first."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    array = np.ones(2 << 20, np.uint8)
    for step in itertools.count(1):
        drafts = [Writer(shelf).draft_of(array)]
        interrupted = interrupted_at(step, drafts[0].discard)
        drafts.clear()
        clear_remains()  # as the next put does
        assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
        assert shelf.ledger.used == 0
        if not interrupted:
            break
    assert step > 50
    assert shelf.recount() == 0


def memory_without_a_name(shelf: Shelf) -> int:
    """Bytes of removed files that this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            path, status = os.readlink(f"/proc/self/fd/{name}"), os.stat(f"/proc/self/fd/{name}")
            found += status.st_blocks * 512 * (path.startswith(shelf.path) and path.endswith("(deleted)"))
    return found


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("by", ["another thread", "the thread that holds the lock"])
def test_a_child_forked_meanwhile_can_be_interrupted(root: Path, by: str) -> None:
    shelf, other = Shelf(str(root / "shelf")), Shelf(str(root / "other"))
    Writer(shelf).put(np.arange(3))
    children: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid:
            children.append(pid)
            return
        try:
            with shelf.ledger.locked():  # as the child does from now on
                pass
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass  # Python acts upon it between two of these
        except KeyboardInterrupt:
            os._exit(0)
        finally:
            os._exit(1)

    with shelf.ledger.locked(), other.ledger.locked():
        if by == "another thread":
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        else:
            fork()
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("begins", ["a new key", "a key that has an array", "after a writer that was killed"])
def test_a_signal_handler_may_put_in_the_middle_of_a_put(root: Path, begins: str) -> None:
    """It runs in the thread that it interrupts, and would wait for that for ever where this holds a lock."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    writer, reader = Writer(shelf), Reader(shelf)
    line, done = 0, True
    # in each line of the other modules it takes long
    files = {module.__file__ for module in (lock, intent, info, ledger, names)}
    killed = Shelf(shelf.path)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal line, done
        if frame.f_code.co_filename in files and event == "line" and not done:
            line += 1
            done = line == step
            if done:
                sys.settrace(None)
                there.append(writer.put(np.full(5000, 2), key="k"))
        return trace

    for step in itertools.count(1):  # noqa: B007 - `trace` uses it
        there, line, done = list[ArrayInfo](), 0, False
        if begins == "a key that has an array":
            there.append(writer.put(np.full(2000, 0), key="k"))
        elif begins == "after a writer that was killed":
            die_in_the_middle_of_a_change(killed)
        sys.settrace(trace)
        try:
            there.append(writer.put(np.full(3000, 1), key="k"))
        finally:
            sys.settrace(None)
        assert shelf.recount() == 0, "what it counts is not what there is"
        values = sorted(int(reader.view(one)[-1]) for one in there)
        assert values == [0] * (begins == "a key that has an array") + ([1, 2] if done else [1])
        named = shelf.named_info("default", "k")
        assert named == max(there, key=lambda one: one.version), "the key leads to an array that was replaced"
        for one in there:
            shelf.delete(one.id, ("default", "k"))
        shelf.pool.trim()
        if not done:
            break
    assert step > 30


def test_what_a_signal_handler_remembers_in_the_middle_of_a_put_is_not_taken_for_current_later(root: Path) -> None:
    """It puts and reads. All names share some counters, which say whether a process still knows what they lead to."""
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    writer, reader = Writer(shelf), Reader(shelf)
    counter = shelf.names._link("default", "k")[1]
    key = next(f"{number}" for number in itertools.count() if shelf.names._link("default", f"{number}")[1] == counter)
    line, done = 0, True

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal line, done
        if frame.f_code.co_filename in {ledger.__file__, names.__file__} and not done:  # calls and returns too
            line += 1
            done = line == step
            if done:
                sys.settrace(None)
                writer.put(np.full(3, step), key=key)
                reader.named("default", "k")
        return trace

    for step in itertools.count(1):
        writer.put(np.full(3, -step), key="k")
        writer.put(np.full(3, -step), key=key)
        line, done = 0, False
        sys.settrace(trace)
        try:
            writer.put(np.full(3, step), key="k")
        finally:
            sys.settrace(None)
        for name in ("k", key) if done else ("k",):
            array = reader.named("default", name)
            assert array is not None and array[0] == step, f"{name} is read as it was before"
        if not done:
            break
    assert step > 30


def die_in_the_middle_of_a_change(shelf: Shelf) -> None:
    """Leave behind what a process leaves that is killed when it has made a file and not counted it."""
    draft = f"{shelf.new}/killed/{len(names_in(f'{shelf.new}/killed')):032x}"
    os.makedirs(os.path.dirname(draft), exist_ok=True)
    with shelf.ledger.locked():
        shelf.ledger.counting(draft, before=0, after=8192).__enter__()  # and never ends
        Path(draft).write_bytes(bytes(8192))


def test_remains_that_a_signal_handler_clears_while_they_are_cleared() -> None:
    class Owner:
        """Of remains."""

    def clear() -> None:
        cleared.append(len(cleared))
        if len(cleared) == 1:
            clear_remains()  # as the put of a handler does

    cleared, owner = list[int](), Owner()
    Remains(owner, clear)
    del owner
    clear_remains()
    assert cleared == [0, 1]
    clear_remains()
    assert cleared == [0, 1]
