"""The speed of shared memory: measured in a folder, or on a private mount with huge pages.

`python -m outlive.tune.speed FOLDER` measures in a folder and prints JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from outlive.arrays.limits import memory_limit
from outlive.arrays.live import forget
from outlive.arrays.lock import try_lock
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import TuneRefused

_T = TypeVar("_T")
_LARGEST, _LEAST = 128 << 20, 8 << 20  # bytes of the array
_ROUNDS = 4
_MEMINFO = "/proc/meminfo"
_PART = 64  # of available memory: five such arrays at once bring a full node no nearer to Ray's limit on memory
_PREFIX = "outlive-tune-"
_SECONDS = 120.0  # for a process that measures
_SCRIPT = 'mount -t tmpfs -o "$1" outlive-tune "$2" && shift && exec "$2" -m outlive.tune.speed "$1"'


class Speeds(NamedTuple):
    """The best of a few rounds, in bytes a second."""

    nbytes: int  # of the array
    put: float  # into new memory
    put_again: float  # into the memory of a deleted array
    first_read: float  # map the array, and add up its items
    memcpy: float  # from array to array, in this process's own memory

    def times(self, before: Speeds) -> dict[str, float]:
        """How many times as fast as `before` each of these is."""
        return {name: getattr(self, name) / getattr(before, name) for name in ("put", "put_again", "first_read")}


def measure(folder: str) -> Speeds:
    """Measure on a temporary shelf below `folder`.

    Raises
    ------
    TuneRefused
        The folder has too little room, or the machine too little free memory.
    """
    system = os.statvfs(folder)
    room = min(system.f_bavail * system.f_frsize // 4, memory_limit() // 16)
    nbytes = min(_LARGEST, room, _available() // _PART) // 4096 * 4096
    if nbytes < _LEAST:
        what = f"{folder} has too little room" if room < _LEAST else "there is too little free memory"
        raise TuneRefused(f"{what} to measure in")
    array = np.ones(nbytes // 8)
    copy = np.zeros_like(array)
    _clear(folder)
    place = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
    lives = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        fcntl.flock(lives, fcntl.LOCK_EX)
        shelf = Shelf(f"{place}/shelf", budget=3 * nbytes)
        reader, writer = Reader(shelf), Writer(shelf)
        fresh, again, read, copied = [], [], [], []
        for _ in range(_ROUNDS):
            shelf.pool.trim()
            seconds, info = _timed(lambda: writer.put(array))
            fresh.append(seconds)
            forget(info.id)
            read.append(_timed(lambda info=info: float(reader.view(info).sum()))[0])  # type: ignore[misc]
            shelf.delete(info.id)
            seconds, info = _timed(lambda: writer.put(array))
            again.append(seconds)
            shelf.delete(info.id)
            copied.append(_timed(lambda: np.copyto(copy, array))[0])
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lives)
    return Speeds(nbytes, *(nbytes / min(seconds) for seconds in (fresh, again, read, copied)))


def _available() -> int:
    """Bytes of memory that the machine has for programs without taking it from others (proc_meminfo(5))."""
    with contextlib.suppress(OSError), open(_MEMINFO) as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return memory_limit()


def _clear(folder: str) -> None:
    """Remove the shelves of processes that were killed while they measured. Nobody has their locks."""
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        with contextlib.suppress(OSError):
            if not name.startswith(_PREFIX) or os.lstat(path).st_uid != os.geteuid():
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if try_lock(fd):
                    shutil.rmtree(path)
            finally:
                os.close(fd)


def measure_private(huge: str) -> Speeds:
    """Measure on a tmpfs with huge pages, mounted in a child process's own namespace: no other process sees it.

    Raises
    ------
    TuneRefused
        This process is not allowed to mount.
    """
    folder = tempfile.mkdtemp(prefix="outlive-private-")  # outside the namespace it stays empty
    own = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        own += ["--user", "--map-root-user"]
    options = f"mode=700,size={8 * _LARGEST},huge={huge}"
    try:
        done = subprocess.run(  # noqa: S603 - this module
            [*own, "sh", "-c", _SCRIPT, "sh", options, folder, sys.executable],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuneRefused(f"no private mount to measure on: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        return Speeds(**json.loads(done.stdout))
    except (ValueError, TypeError):
        lines = [line for line in done.stderr.strip().splitlines() if "dmesg(1)" not in line]  # as mount(8) ends
        raise TuneRefused(f"no private mount to measure on: {(lines or ['nothing was said'])[-1]}") from None


def _timed(operation: Callable[[], _T]) -> tuple[float, _T]:
    begin = time.perf_counter()
    result = operation()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])._asdict()))
