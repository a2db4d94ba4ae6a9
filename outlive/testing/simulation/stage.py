"""The stage: stand-ins for the clock, the random bytes and the threads of the code that is tested.

They are put into the modules of this process, which simulates and does nothing else. Time is virtual, and each machine
has its own clock. Ids come from the seed. Each process of the simulation has its own views and versions.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import secrets
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outlive.arrays import changes, clock, info, ledger, live, lock, remains
from outlive.arrays.reader import Reader
from outlive.arrays.spill import room, waiting
from outlive.arrays.tend import adopt
from outlive.cluster import answering, lines, links, serving, tenure
from outlive.errors import OutliveError
from outlive.store import replicas
from outlive.testing.simulation import calls, green, ports, transfers
from outlive.testing.simulation.machines import EPOCH
from outlive.testing.simulation.scheduler import Process, mix, running

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.scheduler import Scheduler

Unexpected = Callable[[Process, BaseException], None]
SHELF_BYTES = 64 << 20
_ROOMS = "outlive.arrays.", "outlive.catalog.", "outlive.cluster.", "outlive.store."
_REAL_TIME = {"outlive.arrays.lock", "outlive.arrays.clock"}
_REAL_THREADS = {"outlive.arrays.lock", "outlive.arrays.remains"}
_real_flock = fcntl.flock
_STEPS = (
    "rename",
    "unlink",
    "symlink",
    "chmod",
    "fchmod",
    "utime",
    "ftruncate",
    "posix_fallocate",
    "pwrite",
    "mkdir",
    "rmdir",
)
_SWITCHES = 0.25  # the probability that other tasks go on before a shelf is locked


class _Time:
    """Stands for the module `time`."""

    @staticmethod
    def _machine() -> tuple[float, float]:
        """Seconds since the world began, and seconds by which the machine's clock is ahead."""
        task = running()
        if task is not None:
            return task.process.scheduler.now, task.process.node.clock
        return 0.0 if _actors is None else _actors.now, 0.0

    def time(self) -> float:
        now, ahead = self._machine()
        return EPOCH + now + ahead

    def time_ns(self) -> int:
        return int(self.time() * 1e9)

    def monotonic(self) -> float:
        return self._machine()[0]

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        task = running()
        assert task is not None
        task.process.scheduler.sleep(seconds)


raylets: dict[int, Machine] = {}  # by their ids, which are no processes
_FIRST_RAYLET = 1 << 40
_actors: Scheduler | None = None
_chance = 0
_previous: Process | None = None
_unexpected: Unexpected | None = None
_session: Any = None  # the module that holds the session of the process


def urandom(count: int) -> bytes:
    """Stands for `os.urandom`: the bytes come from the seed."""
    global _chance
    task = running()
    if task is not None:
        process = task.process
        process.chances += 1
        number = mix(process.key, process.chances, 11)
    else:
        _chance += 1
        number = mix(0, _chance)
    return (number.to_bytes(8, "little") if count <= 8 else _long(number, count))[:count]


def _long(number: int, count: int) -> bytes:
    parts = (mix(number, i).to_bytes(8, "little") for i in range(count // 8 + 1))
    return b"".join(parts)[:count]


class _Secrets:
    """Stands for the module `secrets`."""

    @staticmethod
    def token_hex(count: int) -> str:
        return urandom(count)[:count].hex()

    @staticmethod
    def randbelow(limit: int) -> int:
        return int.from_bytes(urandom(8)[:8], "little") % limit


class _Warnings:
    """Stands for the module `warnings`, where a put warns that it could not make all replicas."""

    @staticmethod
    def warn(*_: object, **__: object) -> None:
        if (task := running()) is not None:
            task.process.has_fewer = True


def resumed(process: Process) -> None:
    """Put a process's own state into the modules, which all processes of the simulation share."""
    global _previous
    if process is not _previous:
        if _previous is not None:
            _previous.version = info._version  # noqa: SLF001
        info._version = process.version  # noqa: SLF001
        live._live = process.live  # noqa: SLF001
        remains._left = process.left  # noqa: SLF001
        if _session is not None:
            _session._session = process.session  # noqa: SLF001
        _previous = process


def join(process: Process, session: Any) -> None:
    """Give the running process this session."""
    process.session = _session._session = session  # noqa: SLF001


def begin(scheduler: Scheduler, seed: int, unexpected: Unexpected) -> None:
    """Begin a world. `unexpected` is called with logged errors that are not outlive's own."""
    global _actors, _chance, _previous, _unexpected
    _actors, _chance, _previous, _unexpected = scheduler, 0, None, unexpected
    raylets.clear()
    remains._watched.clear()  # noqa: SLF001
    green.FileLock.holder = None
    random.seed(seed)


def point() -> None:
    """Let other tasks go on between two steps of a shelf, unless a lock is held."""
    task = running()
    if task is None or green.FileLock.holder is not None or lock._open or task.process.scheduler.over:  # noqa: SLF001
        return
    if task.draw() < _SWITCHES:
        task.process.scheduler.step()


def _step_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a system call that changes files. A process may be killed before it: see `Process.steps_left`."""

    def step(*args: Any, **kwargs: Any) -> Any:
        task = running()
        if task is not None and task.process.steps_left is not None and not task.process.scheduler.over:
            task.process.steps_left -= 1
            if task.process.steps_left < 0:
                green.FileLock.holder = None  # the kernel releases it
                for file in lock.living(lock._open):  # noqa: SLF001 - and these
                    file.close()
                task.process.scheduler.kill_running()
        return function(*args, **kwargs)

    return step


def _count_steps() -> None:
    for what in _STEPS:
        setattr(os, what, _step_of(getattr(os, what)))


def set_up() -> None:
    """Put all stand-ins in place, once in a process that simulates."""
    global _session
    import outlive.store.store  # noqa: F401
    from outlive.cluster import catalog, keeper  # noqa: F401

    _session = sys.modules["outlive.store.session"]
    time, threads, queues = _Time(), green.Threading(), green.Queues()
    instead: dict[str, Any] = {"threading": threads, "queue": queues, "ThreadPoolExecutor": green.Pool}
    instead |= {"Future": green.Promise}
    if (driver := sys.modules.get("outlive.cluster.driver")) is not None:
        driver.wait = green.wait  # type: ignore[attr-defined]
    real_uptime = clock.uptime  # which is replaced in its own module too
    for name, module in list(sys.modules.items()):
        if name.startswith(_ROOMS):
            if "time" in vars(module) and name not in _REAL_TIME and not callable(vars(module)["time"]):
                module.time = time  # type: ignore[attr-defined]
            if vars(module).get("secrets") is secrets:
                module.secrets = _Secrets()  # type: ignore[attr-defined]
            if vars(module).get("uptime") is real_uptime:
                module.uptime = lambda: int(time.monotonic() * 1e9)  # type: ignore[attr-defined]
            if name not in _REAL_THREADS:
                for what, other in instead.items():
                    if what in vars(module):
                        setattr(module, what, other)
    os.urandom = random._urandom = urandom  # type: ignore[attr-defined]  # noqa: SLF001 - of `SystemRandom`
    _play_raylets()
    _play_ports()
    _count_steps()
    room.locks = dict
    waiting.locks = dict  # type: ignore[attr-defined]  # the kernel's list of locks is a hint, and the whole machine's
    fcntl.flock = _flock
    Process.let_go = _let_go  # type: ignore[assignment,method-assign]
    changes.Changes._watch = _watch_nothing  # type: ignore[method-assign]  # noqa: SLF001
    ledger.FileLock = green.FileLock  # type: ignore[attr-defined,assignment]
    ledger.Ledger.locked = _before(ledger.Ledger.locked)  # type: ignore[method-assign]
    lock.OwnedFile.__init__ = _noted(lock.OwnedFile.__init__)  # type: ignore[method-assign]
    Reader._open = _before(Reader._open)  # type: ignore[method-assign]  # noqa: SLF001
    warnings.simplefilter("ignore")
    replicas.warnings = _Warnings()  # type: ignore[attr-defined,assignment]
    log = logging.getLogger("outlive")
    log.addHandler(_Listens())
    log.setLevel(logging.ERROR)
    log.propagate = False


def _play_raylets() -> None:
    """Give each played node a raylet of its own, and the root folder of its machine."""
    sign = adopt.sign

    def node() -> Machine:
        task = running()
        assert task is not None
        found: Machine = task.process.node
        return found

    def sign_as_node(path: str, address: str, _: int, __: str) -> None:
        raylets[_FIRST_RAYLET + len(raylets)] = node()
        sign(path, address, _FIRST_RAYLET + len(raylets) - 1)

    def started(pid: int) -> str | None:
        return "1" if pid in raylets and raylets[pid].alive else None

    def budget(_: object, shelf: Shelf, *__: object) -> None:
        shelf.ledger.budget = SHELF_BYTES

    tenure.sign = sign_as_node  # type: ignore[attr-defined,assignment]
    tenure.apply = budget  # type: ignore[attr-defined,assignment]
    tenure.default_root = lambda: (node().host.root, None)  # type: ignore[attr-defined]
    adopt._started = started  # noqa: SLF001


def _play_ports() -> None:
    """Have servers listen at played ports, and all else connect to those."""
    lines.Line = calls.PlayedLine  # type: ignore[attr-defined,assignment]
    answering.Server = calls.PlayedServer  # type: ignore[attr-defined,assignment]
    answering._is_gone = ports.is_gone  # noqa: SLF001
    links.Link = transfers.PlayedLink  # type: ignore[attr-defined,assignment]
    serving.Server = transfers.PlayedServer  # type: ignore[attr-defined,assignment]


class _Listens(logging.Handler):
    """Handles errors that are written to the log and not raised."""

    def emit(self, record: logging.LogRecord) -> None:
        task, error = running(), None if record.exc_info is None else record.exc_info[1]
        if task is None or task.process.scheduler.over or _unexpected is None:
            return
        if isinstance(error, Exception) and not isinstance(error, OutliveError):
            _unexpected(task.process, error)


def _watch_nothing(self: changes.Changes, folders: tuple[str, ...]) -> None:
    """Watch nothing, so that folders are listed: the kernel takes milliseconds to end a watch."""
    self._watched = folders


def _flock(file: Any, operation: int) -> None:
    """Stands for `fcntl.flock`. The lock is noted, as a kill of the process has to release it."""
    _real_flock(file, operation)
    if isinstance(file, int) and operation & fcntl.LOCK_EX and (task := running()) is not None:
        task.process.flocks.append((file, os.fstat(file).st_ino))


def _let_go(process: Process) -> None:
    for fd, inode in process.flocks:
        with contextlib.suppress(OSError):  # the file was closed
            if os.fstat(fd).st_ino == inode:
                _real_flock(fd, fcntl.LOCK_UN)


def _noted(begin: Callable[..., None]) -> Callable[..., None]:
    """Note the files that a process opens, as a kill of the process has to close them."""

    def begin_and_note(file: lock.OwnedFile, *args: Any) -> None:
        begin(file, *args)
        if (task := running()) is not None:
            task.process.locks.add(file)

    return begin_and_note


def _before(method: Callable[..., Any]) -> Callable[..., Any]:
    def first_a_point(*args: Any, **kwargs: Any) -> Any:
        point()
        return method(*args, **kwargs)

    return first_a_point
