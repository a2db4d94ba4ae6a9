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
from benchmarks.machine import quiet

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
    with environment():
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
            store = outlive.open(memory=budget)
            quiet()
            yield store
        finally:
            if ray.is_initialized():
                outlive.shutdown()
                ray.shutdown()


@contextmanager
def environment(budget: int | None = None) -> Iterator[str]:
    """What Ray's processes shall find in their environment; the root of all shelves."""
    root = f"/dev/shm/outlive-bench-{os.geteuid()}"  # the same each time: a run removes what a killed one left
    spill = f"{tempfile.gettempdir()}/outlive-bench-{os.geteuid()}-spill"
    for folder in (root, spill):
        atexit.register(_remove_if_empty, folder)  # before outlive registers what empties it: the last goes first
    # The workers import the rows from this checkout, wherever the command was given.
    checkout, path = str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")
    wanted = {
        "OUTLIVE_ROOT": root,  # before Ray starts, so that its workers agree
        "OUTLIVE_SPILL_TO": spill,
        "OUTLIVE_MEMORY": str(budget) if budget else None,
        "RAY_ADDRESS": None,
        "PYTHONPATH": os.pathsep.join(filter(None, (checkout, path))),
    }
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield root
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
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
