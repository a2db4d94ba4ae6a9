"""Jobs, where there is no Ray: which processes use a store, and when the arrays of lifetime "job" end.

A job is the first of a tree of processes that opened the store, and all its descendants that opened it too. It has
ended once none of them is there. `OUTLIVE_JOB` names another: all processes with the same name are one job.

Each process holds a shared lock of `<number>.<pid>.<start>`, the file of its job, which says who began it. The kernel
lets go of the lock when the process ends, however that happens. A forked child has the parent's lock, and so counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

from outlive.arrays.layout import NUMBERS
from outlive.arrays.lock import create, is_at, try_lock
from outlive.arrays.root import names_in

SETTING = "OUTLIVE_JOB"
_AGAIN = 0.001  # seconds until a lock that the keeper has for a moment is tried again


class Job:
    """This process's part in a job. It lasts until this is dropped, or the process ends, and its forked children do."""

    def __init__(self, folder: str, name: str | None = None) -> None:
        while True:
            self.name = name or _named() or _of_an_ancestor(folder) or _new()
            self._path = f"{folder}/{self.name}"
            self._file = FileIO(self._path, "r+", opener=create)
            if try_lock(self._file, fcntl.LOCK_SH) and self.stands():
                self.number = int(self.name[:8], 16)
                return
            self._file.close()
            time.sleep(_AGAIN)  # the keeper is about to remove the file of a job that has ended

    def stands(self) -> bool:
        """Whether the keeper can still see it: the folder may have been removed."""
        return is_at(self._path, self._file.fileno())


class _Process(NamedTuple):
    pid: int
    started: str


def _named() -> str | None:
    name = os.environ.get(SETTING)
    return f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}.{SETTING}" if name else None


def _new() -> str:
    one = next(_line(), _Process(os.getpid(), "0"))
    return f"{secrets.randbelow(NUMBERS):08x}.{one.pid}.{one.started}"


def _of_an_ancestor(folder: str) -> str | None:
    """The job that this process, or the nearest of those that it descends from, has begun."""
    begun = {name[9:]: name for name in names_in(folder)}
    return next((begun[who] for who in (f"{one.pid}.{one.started}" for one in _line()) if who in begun), None)


def _line() -> Iterator[_Process]:
    """This process, its parent, and so on (proc_pid_stat(5), fields 4 and 22)."""
    pid = os.getpid()
    while pid > 0:
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as file:  # a process may have any name
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return
        yield _Process(pid, fields[19])
        pid = int(fields[1])


def living(folder: str) -> set[int]:
    """The jobs of which a process is there. Called by the keeper, which removes the files of the others."""
    found = set[int]()
    for name in names_in(folder):
        with contextlib.suppress(ValueError):
            number = int(name[:8], 16)
            if _is_there(f"{folder}/{name}"):
                found.add(number)
    return found


def _is_there(path: str) -> bool:
    """Whether a process is there of the job with this file, which is removed otherwise. In doubt there is one."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError:  # there are too many open files, for example
            return True
        try:
            if not try_lock(fd):
                return True
            if is_at(path, fd):  # else another thread has removed it, and a new job may have the name
                os.unlink(path)
                return False
        except OSError:
            return True
        finally:
            os.close(fd)
