"""A private Ray cluster with a store of its own, both new, both gone afterwards."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import ray

import outlive

GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
ARENA = 3 * GIB


@contextmanager
def cluster(object_store: int = ARENA, budget: int = 5 * GIB) -> Iterator[outlive.Store]:
    """Ray with two CPUs and `object_store` bytes, and an outlive store that may hold `budget` bytes.

    Within another one, it is that other one (the quick form starts but one).
    """
    if ray.is_initialized():
        yield outlive.open()
        return
    root = f"/dev/shm/outlive-bench-{os.geteuid()}"  # the same each time: a run removes what a killed one left
    atexit.register(_remove_if_empty, root)  # before outlive registers what empties it: the last goes first
    before = os.environ.get("OUTLIVE_ROOT")
    os.environ["OUTLIVE_ROOT"] = root  # before Ray starts, so that its workers agree
    spill, spill_before = (
        f"{tempfile.gettempdir()}/outlive-bench-{os.geteuid()}-spill",
        os.environ.get("OUTLIVE_SPILL_TO"),
    )
    os.environ["OUTLIVE_SPILL_TO"] = spill
    atexit.register(_remove_if_empty, spill)
    os.environ.pop("RAY_ADDRESS", None)
    # The workers import the rows from this checkout, wherever the command was given.
    checkout, path = str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (checkout, path)))
    try:
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=object_store,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        # Ray took the signal for itself; a run that is terminated shall leave nothing in shared memory either.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        yield outlive.open(memory=budget)
    finally:
        if ray.is_initialized():
            outlive.shutdown()
            ray.shutdown()
        for name, value in (("OUTLIVE_ROOT", before), ("OUTLIVE_SPILL_TO", spill_before), ("PYTHONPATH", path)):
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_if_empty(root: str) -> None:
    with contextlib.suppress(OSError):
        Path(root).rmdir()


def touch_arena(object_store: int) -> None:
    """Put into Ray's object store of so many bytes until it is nearly full, then free it all: its pages are in use."""
    array = np.ones(256 * MIB // 8)
    refs = [ray.put(array) for _ in range(int(0.9 * object_store) // array.nbytes)]
    del refs
