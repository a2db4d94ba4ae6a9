"""The watch: samples the worker processes of a local Ray, and the memory of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self

PERIOD = 0.25  # seconds between samples
_NOT_FOR_TASKS = ("Agent", "SpillWorker", "RestoreWorker")


class Process(NamedTuple):
    """A worker process at one moment."""

    pid: int
    role: str  # "worker", "keeper" or "catalog"
    uss: int  # bytes that this process alone has
    rss: int  # bytes, with those that it shares


class Sample(NamedTuple):
    """All worker processes at one moment."""

    seconds: float  # since the watch began
    processes: list[Process]
    shared: int = 0  # bytes of shared memory that arrays take


class Watch:
    """Follows the workers of the Ray that this process started, from a thread of its own.

    Workers are the children of its raylet, in any state. Ray's agents, dashboard and IO workers are not counted.
    """

    def __init__(self, shared: Callable[[], int]) -> None:
        self._shared = shared
        self.samples: list[Sample] = []
        self.events: list[tuple[float, str]] = []
        self._raylets = [child for child in psutil.Process().children() if child.name() == "raylet"]
        self._began = time.monotonic()
        self._pause = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def mark(self, event: str) -> None:
        """Note that something happened now."""
        self.events.append((time.monotonic() - self._began, event))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes no sample in the block, so that the watch does not disturb a measurement."""
        with self._pause:
            yield

    def look(self) -> Sample:
        """The workers now."""
        moment = time.monotonic() - self._began
        found = [child for raylet in self._raylets for child in _children(raylet)]
        processes = [process for child in found if (process := _measure(child)) is not None]
        return Sample(moment, processes, self._shared())

    def settle(self, unchanged: float, patience: float) -> tuple[Sample, bool]:
        """Wait until the set of workers has been the same for `unchanged` seconds. False: `patience` ran out first."""
        last, since = self.look(), time.monotonic()
        deadline = since + patience
        while time.monotonic() < deadline:
            time.sleep(PERIOD)
            now = self.look()
            if pids(now) != pids(last):
                since = time.monotonic()
            last = now
            if time.monotonic() - since > unchanged:
                return last, True
        return last, False

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._pause:
                self.samples.append(self.look())
            self._stop.wait(PERIOD)


def pids(sample: Sample) -> set[int]:
    """The process ids of a sample."""
    return {process.pid for process in sample.processes}


def wait_for(condition: Callable[[], bool], patience: float) -> bool:
    """Wait until `condition` holds; returns whether it did in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def gone(pid: int) -> bool:
    """Whether the process has ended. A zombie counts as ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _children(raylet: psutil.Process) -> list[psutil.Process]:
    try:
        return list(raylet.children())
    except psutil.Error:
        return []


def _measure(process: psutil.Process) -> Process | None:
    """None if it is no worker, or has just ended."""
    try:
        title = " ".join(process.cmdline())
        role = _role(title)
        if role is None:
            return None
        memory = process.memory_full_info()
    except psutil.Error:
        return None
    return Process(process.pid, role, memory.uss, memory.rss)


def _role(title: str) -> str | None:
    name = title.split(" ", 1)[0]
    if "default_worker.py" in title:  # it has not given itself a title yet
        return "worker"
    if not name.startswith("ray::") or any(word in name for word in _NOT_FOR_TASKS):
        return None
    actor = name.removeprefix("ray::").partition(".")[0].lower()
    return actor if actor in ("keeper", "catalog") else "worker"
