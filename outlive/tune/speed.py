"""The speed of shared memory: measured in a folder, or on a private mount with huge pages.

`python -m outlive.tune.speed PARENT FOLDER` measures in a folder, prints JSON, and ends when the process PARENT does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from outlive import progress
from outlive.arrays.limits import memory_left, memory_limit
from outlive.arrays.live import forget
from outlive.arrays.lock import try_lock
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import TuneRefused
from outlive.tune.mount import in_english, in_words, said
from outlive.tune.private import end_with, on_private_mount

_T = TypeVar("_T")
_LARGEST, _LEAST = 128 << 20, 8 << 20  # bytes of the array
_ROUNDS = 4
_PART = 64  # of the memory that is left: five such arrays at once bring a full node no nearer to Ray's limit on memory
_PREFIX = "outlive-tune-"
_SECONDS = 120.0  # for a process that measures
_NONE = "no private mount to measure on"
_LOOK = 0.2  # seconds between two looks whether that is done
REFUSED = (TuneRefused, MemoryError, OSError)
"""The errors of `measure` where it cannot measure. StoreFull is a MemoryError."""


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
    nbytes = min(_LARGEST, room, memory_left() // _PART) // 4096 * 4096
    if nbytes < _LEAST:
        what = f"{folder} has too little room" if room < _LEAST else "there is too little free memory"
        raise TuneRefused(f"{what} to measure in")
    array = np.ones(nbytes // 8)
    copy = np.zeros_like(array)
    with _place(folder) as place:
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
    return Speeds(nbytes, *(nbytes / min(seconds) for seconds in (fresh, again, read, copied)))


@contextlib.contextmanager
def _place(folder: str) -> Iterator[str]:
    """A new folder below `folder`, for this block."""
    _clear(folder)
    place = f"{folder}/{_PREFIX}{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)  # a signal may come just when it is made
        os.mkdir(place, 0o700)
        lives = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        stack.callback(os.close, lives)
        fcntl.flock(lives, fcntl.LOCK_EX)
        yield place


def _clear(folder: str) -> None:
    """Remove the folders of processes that were killed while they measured. Nobody has their locks."""
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
    if not os.access(sys.executable, os.X_OK):
        raise TuneRefused(f"{_NONE}: this user may not start Python ({sys.executable or 'unknown'}) once more")
    with _place(tempfile.gettempdir()) as folder:  # outside the namespace it stays empty
        child = [sys.executable, "-m", "outlive.tune.speed", str(os.getpid()), folder]
        options = f"mode=700,size={8 * _LARGEST},huge={huge}"
        output, errors = _outcome(on_private_mount(child, folder, options))
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        raise TuneRefused(f"{_NONE}: {said(errors)}. That takes root, or a user who may make namespaces") from None
    if "refused" in found:
        raise TuneRefused(f"with huge pages: {found['refused']}")
    return Speeds(**found)


def _outcome(command: list[str]) -> tuple[str, str]:
    """The output of a command, and its errors. A bar is drawn meanwhile."""
    deadline = time.monotonic() + _SECONDS
    try:
        with subprocess.Popen(  # noqa: S603 - this module
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=in_english()
        ) as child:
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        return child.communicate(timeout=progress.pause(_LOOK))
                    progress.tick()
                    if time.monotonic() > deadline:
                        raise subprocess.TimeoutExpired(command, _SECONDS)
            except BaseException:
                child.kill()
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuneRefused(f"{_NONE}: {in_words(error)}") from None


def _timed(operation: Callable[[], _T]) -> tuple[float, _T]:
    begin = time.perf_counter()
    result = operation()
    seconds = time.perf_counter() - begin
    progress.tick()
    return seconds, result


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    try:
        print(json.dumps(measure(sys.argv[2])._asdict()))
    except REFUSED as error:
        print(json.dumps({"refused": in_words(error)}))
