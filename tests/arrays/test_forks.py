"""A child that is forked at any moment keeps no segment locked, whatever other threads were doing to it."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import lock
from outlive.arrays.lock import SHARED, open_locked, opened_locked
from outlive.arrays.root import names_in
from outlive.arrays.shelf import Shelf
from outlive.arrays.staging import orphans
from outlive.arrays.tend.adopt import _is_unlocked
from outlive.arrays.tend.checksums import checksum_of
from outlive.arrays.views import open_view
from outlive.arrays.writer import Writer
from outlive.cluster.transfer import open_sealed
from tests.long import SHORT, few

from .conftest import MIB
from .interrupts import interrupted_at
from .locked import assert_no_child_has_it, can_lock
from .test_shelf import kill

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Children:
    """Children that live until they are ended, or this process ends."""

    def __init__(self) -> None:
        self._pids, self._late = list[int](), list[threading.Thread]()
        self._waits, self._ends = os.pipe()

    def fork_in_another_thread(self) -> None:
        """Fork now. If this thread has forks wait, the other one forks as soon as it may."""
        thread = threading.Thread(target=self._fork)
        thread.start()
        if lock._changing._is_owned():  # type: ignore[attr-defined]
            self._late.append(thread)
        else:
            thread.join()

    def _fork(self) -> None:
        told, tell = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(self._ends)
            os.write(tell, b"\1")
            os.read(self._waits, 1)
            os._exit(0)
        self._pids.append(pid)
        os.close(tell)
        assert os.read(told, 1) == b"\1"
        os.close(told)

    def join(self) -> None:
        """Wait until all are forked."""
        while self._late:
            self._late.pop().join()

    def end(self) -> None:
        self.join()
        while self._pids:
            kill(self._pids.pop())


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()
    os.close(children._waits)
    os.close(children._ends)


@pytest.fixture
def shelf(root: Path) -> Shelf:
    shelf = Shelf(str(root / "shelf"), budget=64 * MIB)
    shelf.ledger.disk.budget = 64 * MIB
    shelf.spill_to(str(root / "disk"))
    assert shelf.disk is not None
    shelf.disk.staging()
    return shelf


def locked_files(shelf: Shelf) -> list[str]:
    """The files of a shelf, and the folders of writers that are dead, that some process has locked."""
    assert shelf.disk is not None
    folders = [shelf.mem, shelf.pool.folder, shelf.disk.mem, shelf.disk.pool.folder]
    paths = [f"{folder}/{name}" for folder in folders for name in names_in(folder)]
    others = filter(os.path.exists, (f"{shelf.new}/dead", f"{shelf.path}/keeper"))
    return [path for path in (*paths, *others) if not can_lock(path)]


def look(shelf: Shelf, array_id: str) -> None:
    """What the keeper does."""
    checksum_of(f"{shelf.mem}/{array_id}")
    open_sealed(shelf, array_id)[1].close()
    for _ in orphans(shelf.new):
        pass
    assert _is_unlocked(f"{shelf.path}/keeper")


def test_a_child_that_another_thread_forks_between_any_two_calls_keeps_no_lock(
    shelf: Shelf, children: Children
) -> None:
    """The array was never moved again, and its memory was lost once it was deleted."""
    os.mkdir(f"{shelf.new}/dead", 0o700)
    Path(shelf.path, "keeper").touch(0o600)
    info = Writer(shelf).put(np.ones(MIB, np.uint8))
    first, stride = (random.randrange(1, 4), 3) if SHORT else (1, 1)
    for step in itertools.count(first, stride):
        interrupted = interrupted_at(step, lambda: look(shelf, info.id), children.fork_in_another_thread)
        children.join()
        assert locked_files(shelf) == [], step
        children.end()
        if not interrupted:
            break
    assert step > 30


@pytest.mark.parametrize("knows", ["the array", "its id"])
@pytest.mark.parametrize("call", ["open", "fstat", "flock", "pread", "mmap", "utime"])
def test_a_child_that_another_thread_forks_while_an_array_is_opened_keeps_no_lock(
    shelf: Shelf, children: Children, monkeypatch: pytest.MonkeyPatch, call: str, knows: str
) -> None:
    """The thread that opened it has no view yet that the child could have, too."""
    module = {"flock": fcntl, "mmap": mmap}.get(call, os)
    info, real, forks = Writer(shelf).put(np.full(MIB, 3, np.uint8)), getattr(module, call), [1]

    def and_fork(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        if forks:
            forks.pop()
            children.fork_in_another_thread()
        return result

    os.utime(f"{shelf.mem}/{info.id}", ns=(0, os.stat(f"{shelf.mem}/{info.id}").st_mtime_ns))  # so that it is stamped
    monkeypatch.setattr(module, call, and_fork)
    view = open_view(f"{shelf.mem}/{info.id}", info if knows == "the array" else None)[1]
    monkeypatch.undo()
    assert not forks
    assert locked_files(shelf) == [f"{shelf.mem}/{info.id}"]
    assert (view == 3).all()
    del view
    assert locked_files(shelf) == []


def test_an_array_can_be_read_as_its_own_thread_forks(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's function for forks reads, in a thread that forks: no fork but its own can come."""
    info = Writer(shelf).put(np.full(MIB, 3, np.uint8))
    with lock.no_fork():
        monkeypatch.setattr(lock, "forks", None)
        assert (open_view(f"{shelf.mem}/{info.id}", info)[1] == 3).all()


def test_a_child_that_is_forked_as_segments_are_closed_keeps_no_lock(shelf: Shelf) -> None:
    """Python forgets a descriptor just before the system closes it. A fork in between waits."""
    path = f"{shelf.mem}/{Writer(shelf).put(np.ones(MIB, np.uint8)).id}"

    def open_and_close() -> None:
        file = open_locked(path, SHARED)
        assert file is not None
        file.close()
        opened_locked(path, SHARED).close()

    assert_no_child_has_it(path, open_and_close, few(100))
