"""Large copies by several threads: how many there are, and that nobody writes once the caller has gone on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import copying, cores, limits
from outlive.arrays.copying import Copying, threads
from outlive.arrays.reader import Reader
from outlive.arrays.remains import clear_remains
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import BadSetting
from outlive.values.packing import pack
from outlive.values.structure import unpack
from tests.conftest import eventually

from .conftest import MIB
from .local_store import assert_counted

LARGE = 64 * MIB


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, count: int, running: int, quota: str = "max") -> None:
    """A machine with so many cores and running threads, this one included, and this quota of version 2."""
    (tmp_path / "loadavg").write_text(f"0.50 0.40 0.30 {running}/537 1234\n")
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    monkeypatch.setattr(cores, "_LOAD", str(tmp_path / "loadavg"))
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))


@pytest.mark.parametrize(
    ("count", "running", "quota", "expected"),
    [
        (2, 1, "max", 2),
        (2, 2, "max", 1),
        (2, 48, "max", 1),
        (16, 1, "max", 4),  # 16 MiB each
        (16, 14, "max", 3),
        (16, 1, "200000", 2),
        (16, 1, "150000", 1),
        (16, 1, "50000", 1),
        (1, 1, "max", 1),
        (2, 0, "max", 2),  # a system that does not say
    ],
)
def test_there_are_as_many_threads_as_idle_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, running: int, quota: str, expected: int
) -> None:
    machine(tmp_path, monkeypatch, count=count, running=running, quota=quota)
    assert threads(LARGE) == expected
    assert threads(MIB) == threads(31 * MIB) == 1
    assert threads(100 * LARGE) <= 6


def test_affinity_version_1_and_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, monkeypatch, count=16, running=1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert threads(LARGE) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert threads(LARGE) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert threads(LARGE) == 4
    monkeypatch.setenv("OUTLIVE_COPY_THREADS", "1")
    assert threads(LARGE) == 1
    for wrong in ("0", "two", "-3", "1.5"):
        monkeypatch.setenv("OUTLIVE_COPY_THREADS", wrong)
        with pytest.raises(BadSetting, match="OUTLIVE_COPY_THREADS"):
            threads(LARGE)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("layout", ["C", "F", "steps", "few rows", "one row", "a value"])
def test_what_several_threads_copy_is_whole(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, layout: str, count: int
) -> None:
    monkeypatch.setattr(copying, "threads", lambda _: count)
    monkeypatch.setattr(copying, "PIECE", 100_000)
    numbers = np.random.default_rng(2).integers(0, 1 << 60, (300, 1600))
    array = {
        "C": numbers, "F": np.asfortranarray(numbers), "steps": numbers[::2, 3:],
        "few rows": numbers.reshape(2, -1)[:, 1::2], "one row": numbers.reshape(1, -1)[:, ::2], "a value": numbers,
    }[layout]  # fmt: skip
    value: Any = pack({"a": array, "b": 3}) if layout == "a value" else array
    for _ in range(2):  # the second time the segment is mapped
        shelf.delete(Writer(shelf).put(np.full(array.nbytes + 500, 0xA5, "u1")).id)
    view = Reader(shelf).view(Writer(shelf).put(value))
    assert np.array_equal(unpack(view)["a"] if layout == "a value" else view, array)
    assert threading.active_count() == 1 or all(one.name != "outlive-copy" for one in threading.enumerate())


class Slow:
    """A target that is being written by each thread until it is let go on; by the calling one, if `caller_too`."""

    def __init__(self, *, caller_too: bool = False) -> None:
        self.begun, self.go_on, self.written, self._caller_too = threading.Event(), threading.Event(), False, caller_too

    def __setitem__(self, _: object, __: object) -> None:
        if threading.current_thread() is threading.main_thread():
            assert self.begun.wait(60)  # leaves one piece to the other thread
            assert not self._caller_too or self.go_on.wait(60)
        else:
            self.begun.set()
            assert self.go_on.wait(60)
            self.written = True


class Stop(Exception):
    """Raised by a signal handler."""


def test_a_handler_that_raises_again_while_others_are_waited_for() -> None:
    """The caller gets its error. Whoever gives the memory away waits again, until nobody writes any more."""
    slow, copy, raised = Slow(caller_too=True), Copying(), list[Stop]()

    def handle(*_: object) -> None:
        if len(raised) < 2:
            raised.append(Stop())
            raise raised[-1]

    def send() -> None:
        assert slow.begun.wait(60)
        while len(raised) < 2:  # once in a piece, and once in the wait for the other thread
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)

    before, sender = signal.signal(signal.SIGUSR1, handle), threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Stop):
            copy.run([(slow, 0), (slow, 0), (slow, 0)], 2)
        assert len(raised) == 2
        assert not slow.written
        threading.Timer(0.05, slow.go_on.set).start()
        copy.wait()
        assert slow.written
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_put_is_discarded_once_nobody_writes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the other threads would write to memory that is no file's any more, which ends the process (SIGBUS)."""
    once, writers = list[bool](), list[int]()

    def put_until_interrupted() -> None:
        once.append(True)
        while True:
            shelf.delete(Writer(shelf).put(np.ones(24 * MIB, "u1")).id)

    def slow_copy(target: Any, source: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            writers.append(1)
            with contextlib.suppress(IndexError):
                once.pop()
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.002)
        target[...] = source
        if threading.current_thread() is not threading.main_thread():
            writers.pop()

    class Target:
        def __init__(self, target: Any) -> None:
            self.target = target

        def __setitem__(self, _: object, source: Any) -> None:
            slow_copy(self.target, source)

    run = Copying.run
    monkeypatch.setattr(Copying, "run", lambda self, pieces, _: run(self, [(Target(to), of) for to, of in pieces], 4))
    monkeypatch.setattr(copying, "PIECE", MIB)
    for _ in range(2):
        shelf.delete(Writer(shelf).put(np.full(24 * MIB, 0xA5, "u1")).id)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            put_until_interrupted()
        clear_remains()  # as the next put does, if the interrupt came as it was discarded
        assert writers == []
        assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
        assert_counted(shelf)
        Writer(shelf).put(np.full(24 * MIB, 3, "u1"))
        for array_id in shelf.ids():
            shelf.delete(array_id)


def test_an_error_of_another_thread_is_raised() -> None:
    class Broken:
        def __setitem__(self, _: object, __: object) -> None:
            if threading.current_thread() is not threading.main_thread():
                raise MemoryError
            eventually(lambda: copy._errors)

    copy = Copying()
    with pytest.raises(MemoryError):
        copy.run([(Broken(), 0), (Broken(), 0)], 2)


@pytest.mark.skipif(sys.platform != "linux", reason="as the others of forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_meanwhile_waits_for_nobody() -> None:
    slow, copy, children = Slow(), Copying(), list[int]()

    def fork() -> None:
        assert slow.begun.wait(60)
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            copy.wait()
            os._exit(7)
        children.append(pid)
        slow.go_on.set()

    thread = threading.Thread(target=fork)
    thread.start()
    copy.run([(slow, 0), (slow, 0)], 2)
    thread.join()
    assert slow.written
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
