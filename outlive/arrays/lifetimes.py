"""Lifetimes: when an array ends by itself.

The last ten digits of an array's id say with what it ends, so a listing of the shelf is enough to know: a kind, and the
number of the Ray job ("job"), or of the scope, a `with` block of one process, on whichever nodes. Kind 0 ends with
nothing: it is there until it is deleted ("detached"). A time to live comes on top, as one bit of the kind: the file's
modification time is then when it ends, and `touch` moves it.
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
_SHORTEST = 1e-9  # seconds to live: 0 is what the others have


class Lifetime(NamedTuple):
    """With what an array ends."""

    kind: int = 0  # JOB or SCOPE or neither, and TTL
    number: int = 0  # of the job or scope
    ttl: float = 0.0  # seconds; 0 if it has no time to live

    @property
    def suffix(self) -> str:
        """The end of the ids of its arrays."""
        number = self.number if self.kind & (JOB | SCOPE) else secrets.randbelow(NUMBERS)
        return suffix(self.kind, number)


DETACHED = Lifetime()


def lifetime_of(info: ArrayInfo) -> Lifetime:
    """With what this array ends."""
    return Lifetime(kind_of(info.id), number_of(info.id), info.ttl)


def job_number(job_id: str) -> int:
    """The number of a Ray JobID, which is four bytes, the least significant first."""
    return int.from_bytes(bytes.fromhex(job_id), "little")


def job_id(number: int) -> str:
    """As Ray writes it."""
    return number.to_bytes(4, "little").hex()


def lifetime_from(name: str, ttl: float | str | None, job: int) -> Lifetime:
    """What "job" or "detached", and a time to live, mean for a process of this job.

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
    """When an array ends that is touched now, as the modification time of its file, in nanoseconds."""
    return int((now + ttl) * 1e9)


def scope_path(folder: str, number: int) -> str:
    """Where a scope's file is, or the link to its node."""
    return f"{folder}/{scope_name(number)}"


class ScopeLock:
    """Says that the process which opened a scope still lives: it holds the lock of `<folder>/<number>`.

    A forked child does not hold it: the scope ends with the process that opened it.
    """

    def __init__(self, folder: str) -> None:
        self._pid = os.getpid()
        while True:
            self.number = secrets.randbelow(NUMBERS)
            self._path = scope_path(folder, self.number)
            with contextlib.suppress(FileExistsError):
                self._file = OwnedFile(self._path, os.O_CREAT | os.O_EXCL)
                # Between these two steps the keeper may take it for a dead process's, and remove it.
                if try_lock(self._file) and is_at(self._path, self._file.fileno()):
                    return
                self._file.close()

    @property
    def ours(self) -> bool:
        """Whether it is of this process, and not of one that forked it."""
        return self._pid == os.getpid()

    def release(self) -> None:
        """The scope has ended."""
        if self.ours:
            _forget(self._path)
            self._file.close()


# Where a scope has arrays on other nodes, its own node has a mark `<number>.<node>` for each of these, and each of
# these a link `<number>` that leads to the node of the scope.


def mark_scope(folder: str, number: int, node: str) -> None:
    """On a scope's own node: arrays of it are, or will be, on that node as well."""
    os.close(
        os.open(f"{folder}/{mark_name(number, node)}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    )


def marked_nodes(folder: str, number: int) -> list[str]:
    """The other nodes that a scope's arrays may be on."""
    prefix = mark_name(number, "")
    return [name.removeprefix(prefix) for name in os.listdir(folder) if name.startswith(prefix)]


def join_scope(folder: str, number: int, node: str) -> None:
    """Elsewhere: arrays of that node's scope are put here."""
    with contextlib.suppress(FileExistsError):
        os.symlink(node, scope_path(folder, number))


def joined_scopes(folder: str) -> dict[int, str]:
    """The scopes of other nodes, by number, and their nodes."""
    found = {}
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):
            found[int(name, 16)] = os.readlink(f"{folder}/{name}")
    return found


def leave_scope(folder: str, number: int) -> None:
    """Another node's scope has ended."""
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
    """Whether a scope has ended, or its process has. Of another node's scope nothing is known here: then it is not."""
    try:
        fd = os.open(scope_path(folder, number), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:  # out of descriptors, for one: that says nothing
        return False
    try:
        if try_lock(fd):
            _forget(scope_path(folder, number))
            return True
        return False
    finally:
        os.close(fd)
