"""What a process has locked is not its forked children's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.ended import Why
from outlive.arrays.lifetimes import ScopeLock, scope_is_over
from outlive.arrays.lock import OwnedFile
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.room import _turn
from outlive.arrays.tend.checksums import Checksums
from outlive.arrays.writer import Writer
from tests.long import few

from .conftest import MIB
from .locked import assert_no_child_has_it, can_lock
from .test_shelf import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_child_has_it_closed(root: Path) -> None:
    path = root / "file"
    file = OwnedFile(str(path), os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    with forked(file.close):  # once more, which closes nobody else's
        assert not can_lock(path)
        file.close()
        assert can_lock(path)
    with pytest.raises(ValueError, match="closed"):
        file.fileno()


def test_a_fork_waits_until_a_file_is_known(root: Path) -> None:
    path = str(root / "file")
    assert_no_child_has_it(path, lambda: OwnedFile(path, os.O_CREAT).close(), few(50))


def test_a_scope_ends_with_its_process_whatever_children_it_has(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"))
    told, tell = os.pipe()

    def open_scope() -> ScopeLock:
        lock = ScopeLock(shelf.scopes)
        child = os.fork()
        if child == 0:
            os.write(tell, b"%d %d" % (lock.number, os.getpid()))
            signal.pause()
        number, pid = map(int, os.read(told, 100).split())
        os.write(tell, b"%d %d" % (number, pid))
        return lock

    with forked(open_scope):
        number, child = map(int, os.read(told, 100).split())
        assert not scope_is_over(shelf.scopes, number)
    try:
        assert scope_is_over(shelf.scopes, number)
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(told)
        os.close(tell)


def test_a_child_does_not_keep_the_turn_to_spill(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"))
    with contextlib.ExitStack() as stack:
        with _turn(shelf) as ours:
            assert ours
            stack.enter_context(forked(lambda: None))
        with _turn(shelf) as ours:
            assert ours


def test_a_child_that_drops_its_views_keeps_no_deleted_array(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=8 * MIB)
    info = Writer(shelf).put(np.ones(MIB, np.uint8))
    views = [Reader(shelf).view(info)]
    with forked(views.clear):
        shelf.delete(info.id)
        views.clear()
        shelf.pool.trim()
        assert shelf.ledger.used == 0


def test_what_a_child_looks_at_is_not_written_again(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=8 * MIB)
    info = Writer(shelf).put(np.ones(MIB, np.uint8))
    views, (ask, told) = [Reader(shelf).view(info)], os.pipe()
    answer, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ask, 1)
        os.write(tell, b"same" if (views[0] == 1).all() else b"other")
        os._exit(0)
    views.clear()
    shelf.delete(info.id)
    shelf.pool.trim()
    Writer(shelf).put(np.zeros(MIB, np.uint8))
    os.write(told, b"\1")
    assert os.read(answer, 10) == b"same"
    os.waitpid(pid, 0)
    shelf.pool.trim()
    for fd in (ask, told, answer, tell):
        os.close(fd)


@pytest.mark.parametrize("name", ["ended", "checksums"])
def test_a_child_forked_while_a_record_is_written_keeps_nobody_from_writing_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shelf = Shelf(str(root / "shelf"))
    info, pwrite = Writer(shelf).put(np.arange(3)), os.pwrite

    with contextlib.ExitStack() as children:

        def fork_and_write(fd: int, data: bytes, offset: int) -> int:
            children.enter_context(forked(lambda: None))
            return pwrite(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", fork_and_write)
        if name == "ended":
            shelf.ended.add([info], Why.TTL, 1)
        else:
            Checksums(f"{shelf.path}/checksums").append({info.id: 1})
        assert can_lock(root / "shelf" / name)
