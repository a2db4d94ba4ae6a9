"""The ledger is exact for whoever locks it next, at whichever step a process was killed, without a recount."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.pool import LEAST
from outlive.arrays.remains import clear_remains
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.room import spill_ahead
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull

from .local_store import assert_counted

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
STEPS = ("open", "ftruncate", "pwritev", "rename", "unlink")
SMALL, LARGE = np.ones(1000, "u1"), np.ones(LEAST + 5000, "u1")


def put(shelf: Shelf) -> None:
    Writer(shelf).put(SMALL, key="small")
    Writer(shelf).put(LARGE, key="large")


def put_and_delete(shelf: Shelf) -> None:
    for array in (SMALL, LARGE):
        shelf.delete(Writer(shelf).put(array).id)


def recycle(shelf: Shelf) -> None:
    shelf.delete(Writer(shelf).put(LARGE).id)
    Writer(shelf).put(LARGE[:-5000])  # shorter
    shelf.delete(next(shelf.scan()).id)
    Writer(shelf).put(LARGE)  # longer
    shelf.delete(next(shelf.scan()).id)
    shelf.pool.trim()


def need_room(shelf: Shelf) -> None:
    shelf.delete(Writer(shelf).put(LARGE).id)
    Writer(shelf).put(np.ones(shelf.ledger.budget - 4 * segment.PAGE, "u1"))


def spill(shelf: Shelf) -> None:
    for _ in range(3):
        Writer(shelf).put(LARGE)
        Writer(shelf).put(SMALL)
    shelf.ledger.budget = segment.pages(LARGE.nbytes)
    spill_ahead(shelf)
    for array_id in shelf.spilled():
        shelf.delete(array_id)


def discard(shelf: Shelf) -> None:
    Writer(shelf).draft_of(LARGE).discard()


class Killed:
    """Kills this process before or after the step with this number, counted over all calls of `STEPS`."""

    def __init__(self, number: int, *, after: bool) -> None:
        self.left, self.after = number, after

    def arm(self) -> None:
        for name in STEPS:
            setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **options)
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step


def killed_at_each_step(path: Path, work: Callable[[Shelf], None], *, after: bool) -> Iterator[Shelf]:
    """Shelves in which a process was killed as it did `work`: at the first step, at the second, and so on."""
    for number in range(1, 1000):
        shelf = Shelf(str(path / f"shelf-{number}"), 4 << 20)
        shelf.spill_to(str(path / f"disk-{number}"))
        shelf.ledger.disk.budget = 64 << 20
        shelf.staging()
        pid = os.fork()
        if pid == 0:
            try:
                own = Shelf(shelf.path)
                Killed(number, after=after).arm()
                work(own)
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        with shelf.ledger.locked():
            pass
        yield shelf
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            assert number > 3
            return


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("work", [put, put_and_delete, recycle, need_room, spill, discard])
def test_killed_at_each_step(root: Path, work: Callable[[Shelf], None], *, after: bool) -> None:
    for shelf in killed_at_each_step(root, work, after=after):
        assert shelf.recount() == 0
        for tier in shelf.tiers.all():  # what was emptied already counts until its name goes
            tier.pool.trim()
        assert_counted(shelf)


def test_a_step_that_fails_is_counted_as_far_as_it_came(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, or an exception of a signal's handler, between a file and its bytes."""
    info = Writer(shelf).put(SMALL)

    def unlink(path: str) -> None:
        real(path)
        raise KeyboardInterrupt

    real = os.unlink
    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        shelf.delete(info.id)
    monkeypatch.undo()
    assert_counted(shelf)
    assert shelf.recount() == 0


@pytest.mark.parametrize("end", ["killed", "interrupted", "full"])
def test_a_small_write_that_ends_half_way_is_counted_as_far_as_it_came(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The file of a small array grows as it is written: here to one page of six."""
    array, real = np.ones(5 * segment.PAGE, "u1"), os.pwritev

    def pwritev(fd: int, buffers: list[Any], offset: int) -> int:
        real(fd, [b"".join(map(bytes, buffers))[: segment.PAGE]], offset)
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "interrupted":
            raise KeyboardInterrupt
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if end == "killed":
        pid = os.fork()
        if pid == 0:
            monkeypatch.setattr(os, "pwritev", pwritev)
            Writer(Shelf(shelf.path)).put(array)
            os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        with shelf.ledger.locked():
            assert shelf.ledger.used == segment.PAGE
    else:
        monkeypatch.setattr(os, "pwritev", pwritev)
        with pytest.raises(StoreFull if end == "full" else KeyboardInterrupt):
            Writer(shelf).put(array)
        monkeypatch.undo()
        clear_remains()
        assert shelf.ledger.used == 0
    assert_counted(shelf)
    assert shelf.recount() == 0


def test_a_ledger_of_an_earlier_version_is_counted_anew(shelf: Shelf) -> None:
    Writer(shelf).put(LARGE)
    used = shelf.ledger.used
    with open(f"{shelf.path}/ledger", "r+b") as file:
        file.write(b"ledger 4")
    assert Shelf(shelf.path, 64 << 20).ledger.used == used > 0
