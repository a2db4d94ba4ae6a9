"""Ctrl-C at any moment of a put: no lock stays behind, nobody has to wait, and nothing is leaked."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.shelf import Shelf


def test_nothing_stays_behind(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=1 << 30)
    array, interrupts, last = np.arange(10), 0, None
    shelf.put(array)
    while interrupts < 500:
        timer = threading.Timer(random.uniform(0, 0.001), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                shelf.put(array)
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
    assert [os.listdir(f"{shelf.new}/{writer}") for writer in os.listdir(shelf.new)] == [[]]
    assert shelf.recount() == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("by", ["another thread", "the thread that holds the lock"])
def test_a_child_forked_meanwhile_can_be_interrupted(root: Path, by: str) -> None:
    shelf, other = Shelf(str(root / "shelf")), Shelf(str(root / "other"))
    shelf.put(np.arange(3))
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
