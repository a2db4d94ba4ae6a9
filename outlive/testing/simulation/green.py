"""Locks, events, queues and pools of threads that are tasks of the scheduler.

They stand where the code that is tried says `threading`, `queue` and `ThreadPoolExecutor`: see `stage`.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from outlive.testing.simulation.scheduler import Future, current, running

_NESTED = nullcontext()
_HUB = object()  # the owner of locks that are taken outside of tasks


class Lock:
    """`threading.Lock` and `threading.RLock`."""

    def __init__(self) -> None:
        self._owner: object = None
        self._depth = 0
        self._waiting: deque[Future] = deque()

    def acquire(self) -> bool:
        task = running() or _HUB
        if self._owner is task:
            self._depth += 1
            return True
        while self._owner is not None:
            future = Future(current())
            self._waiting.append(future)
            future.get()
        self._owner, self._depth = task, 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            if self._waiting:
                self._waiting.popleft().set()

    def release_all(self) -> int:
        """Release it at once, however often it was taken; returns how often."""
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def take_again(self, depth: int) -> None:
        self.acquire()
        self._depth = depth

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    """`threading.Condition`."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or Lock()
        self._waiting: list[Future] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        scheduler = current()
        deadline = None if timeout is None else scheduler.now + timeout
        while not predicate():
            left = None if deadline is None else deadline - scheduler.now
            if left is not None and left <= 0:
                return False
            future = Future(scheduler)
            self._waiting.append(future)
            depth = self._lock.release_all()
            scheduler.wait([future], 1, left)
            self._lock.take_again(depth)
        return True

    def notify_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set()


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._set, self._waiting = False, list[Future]()

    def is_set(self) -> bool:
        return self._set

    def clear(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True
        for future in self._waiting:
            future.set()
        self._waiting.clear()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            future = Future(current())
            self._waiting.append(future)
            current().wait([future], 1, timeout)
        return self._set


class Thread:
    """`threading.Thread`."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", **_: object) -> None:
        self._target, self._args, self._name = target, args, name

    def start(self) -> None:
        current().process.spawn(self._name or self._target.__name__, self._target, *self._args)


class SimpleQueue:
    """`queue.SimpleQueue`."""

    def __class_getitem__(cls, _: object) -> type[SimpleQueue]:
        return cls

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: list[Future] = []

    def put(self, item: Any) -> None:
        self._items.append(item)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def get(self) -> Any:
        while not self._items:
            future = Future(current())
            self._waiting.append(future)
            future.get()
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class Promise:
    """`concurrent.futures.Future`."""

    def __init__(self) -> None:
        self._future = Future(current())

    def __class_getitem__(cls, _: object) -> type[Promise]:
        return cls

    def set_result(self, value: Any) -> None:
        self._future.set(value)

    def set_exception(self, error: BaseException) -> None:
        self._future.set(error=error)

    def result(self) -> Any:
        return self._future.get()

    @property
    def future(self) -> Future:
        return self._future


def wait(promises: Iterable[Promise]) -> None:
    """`concurrent.futures.wait`."""
    futures = [promise.future for promise in promises]
    current().wait(futures, len(futures))


class Pool:
    """`concurrent.futures.ThreadPoolExecutor`."""

    def __init__(self, threads: int, name: str = "pool") -> None:
        self._free, self._name = threads, name
        self._waiting: deque[tuple[Promise, Callable[..., Any], tuple[Any, ...]]] = deque()

    def submit(self, function: Callable[..., Any], *args: Any) -> Promise:
        promise = Promise()
        self._waiting.append((promise, function, args))
        if self._free:
            self._free -= 1
            current().process.spawn(self._name, self._work)
        return promise

    def _work(self) -> None:
        while self._waiting:
            promise, function, args = self._waiting.popleft()
            try:
                promise.set_result(function(*args))
            except Exception as error:  # noqa: BLE001 - the caller of `result` gets it
                promise.set_exception(error)
        self._free += 1

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        promises = [self.submit(function, item) for item in items]
        return (promise.result() for promise in promises)

    def __enter__(self) -> Pool:  # noqa: PYI034 - 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FileLock:
    """`outlive.arrays.lock.FileLock`, of the ledger.

    No other task goes on while one holds it, so no file has to be locked. Each call checks that.
    """

    holder: FileLock | None = None  # the lock that is held

    def __init__(
        self,
        path: str,
        same_as: int | None = None,
        *,
        before: Callable[[], None] = lambda: None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.same_as, self._before, self._first, self.task = path, same_as, before, first, running()

    @property
    def held(self) -> bool:
        return FileLock.holder is self and self.task is running()

    mine = held

    def take(self) -> FileLock | AbstractContextManager[None]:
        holder = FileLock.holder
        if holder is not None and holder.path == self.path:
            if holder is self and self.task is running():
                return _NESTED
            assert holder.task is None or not holder.task.process.alive, f"{holder.task} goes on without {self.path}"
        FileLock.holder, self.task, self._outer = self, running(), holder
        try:
            self._before()
            self._first()
        except BaseException:
            FileLock.holder = holder
            raise
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        FileLock.holder = self._outer


class Threading:
    """Stands for the module `threading`."""

    Lock = RLock = Lock
    Condition, Event, Thread = Condition, Event, Thread
    get_ident = staticmethod(lambda: id(running()))


class Queues:
    """Stands for the module `queue`."""

    SimpleQueue, Empty = SimpleQueue, queue.Empty
