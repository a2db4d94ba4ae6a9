"""Locks between processes and threads. No signal, fork or killed process leaves one behind.

Each time a lock is taken, its file is opened anew and locked by `flock`. Closing the file lets go of the lock. An
object of Python's own, written in C, closes it in one step, however the block ends. So a signal handler that raises
between any two steps leaves either a closed file or one without references, which Python closes too.

A forked child has the same open files as its parent, and would keep their locks. So it closes them first: the files of
all threads, and also a file that a thread was just opening or closing, which the kernel's list of open files shows.

No wait lasts for ever: a stopped process may hold a lock, so a wait ends after a while with an error that names that
process. A signal handler that raises ends it too.

All other files with locks are `OwnedFile`s, which a forked child closes as well. No thread forks while one is opened or
closed. Views are not among them, as a read must not wait for another thread: see `views`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import FileIO
from typing import Any, TypeVar

from outlive.arrays.layout import PRIVATE
from outlive.errors import StoreUnavailable

T = TypeVar("T")
SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX
PATIENCE = 60.0  # seconds to wait for a lock
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 1e-3  # seconds between two tries
_NESTED = contextlib.nullcontext()

_open: set[weakref.ref[FileIO]] = set()  # the files of all threads, those that wait too; C code removes them
_owned: set[weakref.ref[OwnedFile]] = set()
# a fork waits for this: between the two steps a file is open that its object does not show
_changing = threading.RLock()
forks: object | None = object()
"""Another object after each fork, and None while a thread forks. So a thread can tell whether a child may have what it
has opened since it last looked.
"""


class FileLock:
    """The exclusive lock of the file `path`, for one thread at a time: `with lock.take():`. May be nested.

    Parameters
    ----------
    same_as
        The descriptor of the file, if another may stand at `path` one day, which is not to be locked instead.
    before, first
        Called each time the lock is got: `before` it counts as held by this thread, and `first` as soon as it does. If
        a signal handler takes the lock until `before` has returned, it calls both by itself.
    """

    def __init__(
        self,
        path: str,
        same_as: int | None = None,
        *,
        before: Callable[[], None] = lambda: None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.same_as, self._before, self._first = path, same_as, before, first
        self._inode = None if same_as is None else os.fstat(same_as).st_ino
        self._held: tuple[int, weakref.ref[FileIO]] = (0, weakref.ref(_nobody))  # by which thread
        self._taking: dict[int, weakref.ref[FileIO]] = {}  # thread -> the file by which it is taking the lock just now
        _locks.add(weakref.ref(self, _locks.discard))

    def take(self) -> AbstractContextManager[Any]:
        """Wait for the lock. It is held until the `with` block ends, or until the returned object is dropped.

        Raises
        ------
        StoreUnavailable
            Another process holds it, and does not let go.
        """
        if self.held:
            return _NESTED
        thread = threading.get_ident()
        interrupted = self._taking.get(thread, _of_nobody)()
        if interrupted is not None and not interrupted.closed:
            self._take_by(interrupted)  # a signal handler came in here, perhaps just when the lock was got
            return _NESTED
        file = self._open()
        _open.add(weakref.ref(file, _open.discard))
        try:
            self._taking[thread] = weakref.ref(file)
            self._take_by(file)
            del self._taking[thread]
            return file
        except BaseException:
            file.close()
            self._taking.pop(thread, None)
            raise

    def _take_by(self, file: FileIO) -> None:
        if not try_lock(file):
            _wait_for(file, self.path)
        self._before()
        self._held = threading.get_ident(), weakref.ref(file)
        self._first()

    def _open(self) -> FileIO:
        if self.same_as is None:
            return FileIO(self.path, "r+", opener=create)
        with contextlib.suppress(FileNotFoundError):
            file = FileIO(self.path, "r+")
            if os.fstat(file.fileno()).st_ino == self._inode:
                return file
        return FileIO(f"/proc/self/fd/{self.same_as}", "r+")

    @property
    def held(self) -> bool:
        """Whether this thread holds the lock."""
        thread, reference = self._held
        return thread == threading.get_ident() and (file := reference()) is not None and not file.closed

    @property
    def mine(self) -> bool:
        """The same as `held`, and in a signal handler also if that interrupted its thread just as it got the lock."""
        file = self._taking.get(threading.get_ident(), _of_nobody)()
        return self.held or (file is not None and not file.closed and try_lock(file))


def try_lock(file: FileIO | OwnedFile | int, kind: int = EXCLUSIVE) -> bool:
    """Lock an open file now; False if another process has a lock that excludes this one."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(file: FileIO, path: str) -> None:
    deadline, pause = time.monotonic() + PATIENCE, _FIRST_PAUSE
    while True:
        time.sleep(pause)
        if try_lock(file):
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"{holder_of(file.fileno())} has held the lock of {path} for {PATIENCE:.0f} s: it is stopped or hangs. "
                "Let it go on (kill -CONT), or end it: its lock ends with it"
            )
        pause = min(2 * pause, _LONGEST_PAUSE)


def holder_of(fd: int) -> str:
    """Names the process that locks an open file, by the kernel's list (proc_locks(5))."""
    found = os.fstat(fd)
    identity = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError):
        for line in _lines("/proc/locks"):
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and identity in fields:
                pid = fields[fields.index(identity) - 1]
                command = next(_lines(f"/proc/{pid}/comm"), "of another container" if pid == "0" else "gone by now")
                return f"process {pid} ({command.strip()})"
    return "another process"


def _lines(path: str) -> Iterator[str]:
    with contextlib.suppress(OSError), open(path, errors="replace") as file:  # a process may have any name
        yield from file


def create(path: str, flags: int) -> int:
    """Opens a file, made if there is none, for `FileIO`: private, and no link."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)


class OwnedFile:
    """The file `path`, open for reading and writing, until its `with` block ends. A forked child has it closed.

    It never unlocks, because that would end the parent's lock too. Closing ends only this process's lock; so does
    dropping it, as an interrupt may.

    Parameters
    ----------
    flags
        More flags of `open(2)`, as `os.O_CREAT`.
    access
        How it is opened: `os.O_RDONLY` for reading alone.

    Raises
    ------
    OSError
        A link is refused.
    """

    def __init__(self, path: str, flags: int = 0, access: int = os.O_RDWR) -> None:
        def opened(name: str, _: int) -> int:
            return os.open(name, access | os.O_CLOEXEC | os.O_NOFOLLOW | flags, PRIVATE)

        with _changing:
            # `FileIO` closes in one C call, which no signal handler can split: the descriptor is neither lost nor
            # closed twice.
            self.file = FileIO(path, "r+", opener=opened)
            _owned.add(weakref.ref(self, _owned.discard))

    def fileno(self) -> int:
        """The descriptor, for `fcntl.flock`. `ValueError` once it is closed, as in a forked child."""
        return self.file.fileno()

    def close(self) -> None:
        """Let go of the file and its lock. Harmless to repeat."""
        with _changing:  # a child that was forked in here would have it open, and would not know of it
            self.file.close()

    def __enter__(self) -> OwnedFile:  # noqa: PYI034  # Self: from Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_fork() -> AbstractContextManager[Any]:
    """No other thread forks in this block: `with no_fork(): ...`. Short ones only."""
    return _changing


def opened(path: str, access: int = os.O_RDWR) -> OwnedFile:
    """An existing file. Raises OSError: FileNotFoundError, if there is none."""
    return OwnedFile(path, os.O_NONBLOCK, access)  # a planted pipe must not block


def open_locked(path: str, lock: int) -> OwnedFile | None:
    """Open the sealed segment at `path` with this lock (SHARED or EXCLUSIVE), which ends if the file is dropped.

    While the lock is held, `path` leads to this segment. None if there is no segment, or others hold a lock on it.
    """
    try:
        return opened_locked(path, lock, os.O_RDWR)
    except OSError:
        return None


def opened_locked(path: str, lock: int, access: int = os.O_RDONLY) -> OwnedFile:
    """The same as `open_locked`, which says why there is none.

    Raises
    ------
    OSError
        FileNotFoundError, if there is no segment; BlockingIOError, if others hold a lock on it.
    """
    file = opened(path, access)
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
        if is_at(path, file.fileno()):
            return file
        raise FileNotFoundError(path)
    except BaseException:
        file.close()
        raise


def open_owned(path: str) -> OwnedFile | None:
    """Open a file with its exclusive lock, as `open_locked` does."""
    return open_locked(path, EXCLUSIVE)


def is_at(path: str, fd: int) -> bool:
    """Whether this open file is still the one at `path`."""
    try:
        there, ours = os.lstat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)


class Mutex:
    """A lock between the threads of this process: `with mutex.now:`. A forked child has a new one, held by nobody.

    A signal handler that calls outlive runs in the thread that it interrupts. It may take what that thread holds: it
    would wait for ever else. So what the block does has to be right if the same is done in between any two steps of it.
    """

    __slots__ = ("__weakref__", "now")

    def __init__(self) -> None:
        self.now = threading.RLock()
        _mutexes.add(weakref.ref(self, _mutexes.discard))

    def renew(self) -> None:
        """In a forked child: it may be held by a thread that the child does not have."""
        self.now = threading.RLock()


_nobody = FileIO(os.devnull)
_nobody.close()
_of_nobody = weakref.ref(_nobody)
_locks: set[weakref.ref[FileLock]] = set()
_mutexes: set[weakref.ref[Mutex]] = set()


def living(references: set[weakref.ref[T]]) -> list[T]:
    """The objects of a set that are still alive.

    `WeakSet` runs Python code when one of its objects dies, and an interrupt that comes there is lost. Here C code
    does it: `references.add(weakref.ref(one, references.discard))`.
    """
    return [one for one in [reference() for reference in list(references)] if one is not None]


def _let_go() -> None:
    for file in living(_open):
        file.close()
    _open.clear()
    for mutex in living(_mutexes):
        mutex.renew()
    _close_unknown()


def _close_unknown() -> None:
    """Close what a thread of the parent was just opening, or closing: no object tells of it."""
    locks = living(_locks)
    ours = {lock.same_as for lock in locks}
    paths = {os.path.realpath(lock.path) for lock in locks}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}").removesuffix(" (deleted)")
                if target in paths and int(name) not in ours:
                    os.close(int(name))


def _wait_before_fork() -> None:
    global forks
    try:
        _changing.acquire()
    finally:
        forks = None


def _go_on_in_parent() -> None:
    global forks
    forks = object()
    with contextlib.suppress(RuntimeError):  # a signal handler that raised ended the wait before the fork
        _changing.release()


def _go_on_in_child() -> None:
    global _changing, forks
    _changing, forks = threading.RLock(), object()
    for file in living(_owned):
        file.close()
    _owned.clear()
    _let_go()


os.register_at_fork(before=_wait_before_fork, after_in_parent=_go_on_in_parent, after_in_child=_go_on_in_child)
