"""Locks: nothing leaves one behind, and nobody waits for one for ever."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays import lock as locks
from outlive.arrays.info import new_version
from outlive.arrays.lifetimes import SCOPE, Lifetime, ScopeLock
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.segment import describe
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import StoreUnavailable
from outlive.store.creation import Creation
from outlive.store.scopes import end_scope
from tests.conftest import eventually, nothing_is_swallowed
from tests.forking import forked
from tests.long import few

from .local_store import assert_counted

MIB = 1 << 20
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Timeout(Exception):
    """What a signal handler raises."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def raises(*_: object) -> None:
        raise Timeout

    before = signal.signal(signal.SIGALRM, raises)
    with nothing_is_swallowed():
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(shelf: Shelf) -> bool:
    """With another process's eyes: by an open file of our own."""
    with Path(shelf.path, "ledger").open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_no_signal_handler_that_raises_leaves_the_lock(shelf: Shelf, alarm: None) -> None:
    """As those of timeouts do, and Ray's own for SIGTERM. The exception is kept, as tools do, with all its frames."""
    array, kept, raised = np.ones(100), list[BaseException](), 0
    shelf.delete(Writer(shelf).put(array).id)
    while raised < 1500:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 400e-6))
            for _ in range(50):
                shelf.delete(Writer(shelf).put(array).id)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Timeout as error:
            raised += 1
            kept.append(error)
        assert is_free(shelf)
        del kept[:-3]
        if raised % 100 == 0:
            for array_id in shelf.ids():
                shelf.delete(array_id)
    kept.clear()
    gc.collect()
    Writer(shelf).put(array)
    assert_counted(shelf)


def test_a_wait_for_a_stopped_process_can_be_interrupted(shelf: Shelf, alarm: None) -> None:
    with Path(shelf.path, "ledger").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as by a process that is stopped
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Timeout):
            Writer(shelf).put(np.ones(3))
    Writer(shelf).put(np.ones(3))


def test_a_wait_for_a_stopped_process_ends_with_its_name(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import fcntl, sys; f = open({shelf.path + '/ledger'!r}, 'r+'); fcntl.flock(f, 2); print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        monkeypatch.setattr(locks, "PATIENCE", 0.2)
        with pytest.raises(StoreUnavailable, match=rf"process {process.pid} \(python.*kill -CONT"):
            Writer(shelf).put(np.ones(3))
        process.communicate(b"\n")
    assert Writer(shelf).put(np.ones(3)).nbytes == 24


def ended(pid: int) -> bool:
    found, status = os.waitpid(pid, os.WNOHANG)
    assert status == 0
    return bool(found)


def test_forks_beside_threads_that_put(shelf: Shelf) -> None:
    """A child inherits the lock of no thread, neither the kernel's nor Python's."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            shelf.delete(Writer(shelf).put(np.ones(10)).id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    alive: list[int] = []
    try:
        for number in range(few(60)):
            pid = forked(lambda: Writer(shelf).put(np.ones(10)))
            eventually(lambda pid=pid: ended(pid))
            if number % 10 == 0:  # and some that live on, and hold nothing that others need
                alive.append(forked(lambda: time.sleep(600)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        free = is_free(shelf)
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert free


def test_a_finalizer_that_deletes_in_the_middle_of_a_change(shelf: Shelf) -> None:
    """Python may run one at any step, also between a change and its count."""
    infos = [Writer(shelf).put(np.ones(10)) for _ in range(3)]
    path = f"{shelf.staging()}/{'0' * 32}"
    with shelf.ledger.locked(), shelf.ledger.counting(path, before=0, after=4096):
        shelf.delete(infos[0].id)
        Path(path).write_bytes(bytes(4096))
        shelf.delete(infos[1].id)
    assert_counted(shelf)
    shelf.delete_draft(path)
    assert_counted(shelf)


# --- a fork in the middle of a block


@pytest.fixture
def session(shelf: Shelf) -> Any:
    return SimpleNamespace(shelf=shelf, node="n", connection=SimpleNamespace(cluster="c"))


@pytest.mark.parametrize("leaves", ["normally", "by sys.exit"])
def test_a_child_that_leaves_create_does_nothing_to_its_parents_array(shelf: Shelf, session: Any, leaves: str) -> None:
    info = describe("'|u1'", (MIB,), MIB, fortran=False, store="s", key=None, version=new_version())
    creation, pid = Creation(session, info), 1
    try:
        with creation as out:
            out[: MIB // 2] = 1
            pid = os.fork()
            if pid == 0 and leaves == "by sys.exit":
                sys.exit(0)
            if pid:
                eventually(lambda: ended(pid))
                assert shelf.ids() == []
                out[:] = 2
    finally:
        if pid == 0:
            os._exit(0)
    assert (Reader(shelf).view(creation.handle.info) == 2).all()
    assert_counted(shelf)


def test_a_child_that_leaves_a_scope_ends_nothing(shelf: Shelf, session: Any) -> None:
    lock, pid = ScopeLock(shelf.scopes), 1
    try:
        with ExitStack() as stack:
            stack.callback(end_scope, session, lock)
            info = Writer(shelf).put(np.ones(3), options=PutOptions(lifetime=Lifetime(SCOPE, lock.number)))
            pid = os.fork()
            if pid:
                eventually(lambda: ended(pid))
                assert shelf.has(info.id)
    finally:
        if pid == 0:
            os._exit(0)
    assert not shelf.has(info.id)
