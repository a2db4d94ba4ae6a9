"""A private local Ray, which is quiet and always stopped at the end."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ray

from outlive.ray_internals.starting import patiently

CPUS = 2  # so that at most two workers run at a time, on any machine
_LEAST_OBJECT_STORE = 256 << 20  # bytes


@contextlib.contextmanager
def local_ray(object_store: int, before_stop: Callable[[], None]) -> Iterator[None]:
    """Start a Ray that no other program uses, and stop it at the end.

    Workers and reaper have Ray's defaults. Ray's own output on standard output and error is dropped, such as that about
    killed workers.

    Parameters
    ----------
    object_store
        Bytes that Ray's own object store should hold.
    before_stop
        Called before Ray is stopped, also after an error.
    """
    if ray.is_initialized():
        raise RuntimeError("this process is connected to Ray, and the demo needs one of its own: run `outlive demo`")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            with interrupts_held():  # a half-started Ray could not be stopped
                _start(object_store)
            yield
        finally:
            with interrupts_held():
                try:
                    before_stop()
                finally:
                    ray.shutdown()


def _start(object_store: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"  # messages about the workers that are killed on purpose
    with warnings.catch_warnings(), patiently():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=CPUS,
            object_store_memory=max(object_store, _LEAST_OBJECT_STORE),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C in the block takes effect at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt
