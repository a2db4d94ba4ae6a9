"""Lifetimes: when an array ends by itself.

The last ten digits of an array's id say what ends it, so a listing of the shelf is enough to know. They have a kind,
and the number of the Ray job ("job") or of the scope: a `with` block of one process, with arrays on any nodes. Kind 0
is "detached": the array stays until it is deleted. One bit of the kind says that it has a time to live as well. Then
the file's modification time says when that is over, and `touch` moves it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import NUMBERS, PRIVATE, kind_of, mark_name, number_of, scope_name, suffix
from outlive.arrays.lock import OwnedFile, is_at, try_lock
from outlive.units import parse_duration

JOB, SCOPE, TTL = 1, 2, 4
_SHORTEST = 1e-9  # seconds to live at least: 0 stands for no limit


class Lifetime(NamedTuple):
    """The lifetime of an array: what ends it, and its time to live."""

    kind: int = 0  # JOB, SCOPE or neither, and TTL
    number: int = 0  # the number of the job or scope
    ttl: float = 0.0  # seconds; 0 if it has no time to live

    @property
    def suffix(self) -> str:
        """The last digits of the ids of such arrays."""
        number = self.number if self.kind & (JOB | SCOPE) else _random_number()
        return suffix(self.kind, number)


def _random_number() -> int:
    """The same as `secrets.randbelow(NUMBERS)` in a fifth of the time, as each put asks for a number."""
    return int.from_bytes(os.urandom(8), "little") % NUMBERS


DETACHED = Lifetime()


def lifetime_of(info: ArrayInfo) -> Lifetime:
    """The lifetime that this array's id says."""
    return Lifetime(kind_of(info.id), number_of(info.id), info.ttl)


def job_id(number: int) -> str:
    """The JobID as Ray writes it."""
    return number.to_bytes(4, "little").hex()


def lifetime_from(name: str, ttl: float | str | None, job: int) -> Lifetime:
    """The lifetime that "job" or "detached", and a time to live, mean in a process of this job.

    Raises
    ------
    ValueError
    """
    if name not in {"job", "detached"}:
        raise ValueError(f"lifetime is 'job' or 'detached', not {name!r}; for a scope, put through `store.scope()`")
    seconds = 0.0 if ttl is None else parse_duration(ttl, "ttl", least=_SHORTEST)
    kind = (JOB if name == "job" else 0) | (TTL if seconds else 0)
    return Lifetime(kind, job if kind & JOB else 0, seconds)


def deadline_from(now: float, ttl: float) -> int:
    """The end of an array that is touched now: the modification time of its file, in nanoseconds."""
    return int((now + ttl) * 1e9)


def scope_path(folder: str, number: int) -> str:
    """The path of a scope's file, or of the link to its node."""
    return f"{folder}/{scope_name(number)}"


class ScopeLock:
    """Shows that the process which opened a scope lives: it holds the lock of `<folder>/<number>`.

    A forked child does not hold it: the scope ends with the process that opened it.
    """

    def __init__(self, folder: str) -> None:
        self._pid = os.getpid()
        while True:
            self.number = secrets.randbelow(NUMBERS)
            self._path = scope_path(folder, self.number)
            with contextlib.suppress(FileExistsError):
                self._file = OwnedFile(self._path, os.O_CREAT | os.O_EXCL)
                # Between these two steps the keeper may take the file for a dead process's, and remove it.
                if try_lock(self._file) and is_at(self._path, self._file.fileno()):
                    return
                self._file.close()

    @property
    def ours(self) -> bool:
        """Whether this process opened the scope, and not a process that forked it."""
        return self._pid == os.getpid()

    def release(self) -> None:
        """Say that the scope has ended."""
        if self.ours:
            _forget(self._path)
            self._file.close()


# If a scope has arrays on other nodes, its own node has a mark `<number>.<node>` for each of them, and each of them has
# a link `<number>` that leads to the scope's node.


def mark_scope(folder: str, number: int, node: str) -> None:
    """Called on a scope's own node: `node` has arrays of the scope, or will have."""
    os.close(
        os.open(f"{folder}/{mark_name(number, node)}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    )


def marked_nodes(folder: str, number: int) -> list[str]:
    """The other nodes that a scope's arrays may be on."""
    prefix = mark_name(number, "")
    return [name.removeprefix(prefix) for name in os.listdir(folder) if name.startswith(prefix)]


def join_scope(folder: str, number: int, node: str) -> None:
    """Called on another node: arrays of that node's scope are put here."""
    with contextlib.suppress(FileExistsError):
        os.symlink(node, scope_path(folder, number))


def joined_scopes(folder: str) -> dict[int, str]:
    """The scopes of other nodes, by number, and their nodes."""
    found = {}
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):
            found[int(name, 16)] = os.readlink(f"{folder}/{name}")
    return found


def has_scope(folder: str, number: int) -> bool:
    """Whether a scope of this node is open, or was as its process died."""
    return os.path.isfile(scope_path(folder, number)) and not os.path.islink(scope_path(folder, number))


def leave_scope(folder: str, number: int) -> None:
    """Say that another node's scope has ended."""
    if os.path.islink(scope_path(folder, number)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scope_path(folder, number))


def _forget(path: str) -> None:
    """Remove a scope's file and its marks."""
    folder, name = os.path.split(path)
    for other in (name, *(mark for mark in os.listdir(folder) if mark.startswith(f"{name}."))):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{other}")


def scope_is_over(folder: str, number: int) -> bool:
    """Whether a scope or its process has ended. False for another node's scope, of which nothing is known here."""
    try:
        fd = os.open(scope_path(folder, number), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:  # such as too many open files: that says nothing of the scope
        return False
    try:
        if try_lock(fd):
            _forget(scope_path(folder, number))
            return True
        return False
    finally:
        os.close(fd)
