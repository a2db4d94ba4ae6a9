"""Ctrl-C at any moment of a put: no lock stays behind, nobody has to wait, and nothing is leaked."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np

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
