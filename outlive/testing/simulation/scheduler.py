"""The scheduler: one thread, one virtual clock, and one seed that decides the order of all tasks.

A *task* is a thread of a *process*, played by a greenlet. It runs until it sleeps or waits; then the task that is due
next goes on. Each task draws its delays from its own key and a count, not from one common stream. So a schedule without
one of its operations is the same otherwise, and can be shrunk.

A process can be killed between any two steps: its tasks are never resumed, so none of their `finally` blocks runs, as
after a `kill -9`. A stopped process (SIGSTOP) does later all that came due meanwhile.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from outlive.arrays.lock import OwnedFile

_MASK = (1 << 64) - 1
_MOST_STEPS = 50_000
_STEP = 0.001  # seconds that one step takes at most


def mix(*parts: int) -> int:
    """A number of 64 bits that looks random, from these numbers alone: their hash, without a seed, and a finalizer."""
    found = hash(parts) & _MASK
    found = ((found ^ (found >> 32)) * 0xBF58476D1CE4E5B9) & _MASK
    return found ^ (found >> 29)


def number_of(text: str) -> int:
    """A number for a text. It is the same in every process, unlike `hash`."""
    return zlib.crc32(text.encode()) | zlib.adler32(text.encode()) << 32


class Stuck(Exception):
    """Nothing is due although a task waits, or the schedule takes too long."""


class Process:
    """Tasks that live and die together, on one machine.

    Parameters
    ----------
    name
        Unique in its world, and the same in each replay.
    """

    def __init__(self, scheduler: Scheduler, name: str, node: Any = None) -> None:
        self.scheduler, self.name, self.node = scheduler, name, node
        self.key = mix(scheduler.key, number_of(name))
        self.alive, self.stopped = True, False
        self.steps_left: int | None = None  # system calls until it is killed
        self.backlog: list[tuple[Task, int]] = []  # tasks that came due while it was stopped
        self.at_death: list[Callable[[], None]] = []
        self.locks: weakref.WeakSet[OwnedFile] = weakref.WeakSet()  # open files, which it may have locked
        self.flocks: list[tuple[int, int]] = []  # descriptors that it locked, with inodes; some may be closed
        self.live: dict[str, Any] = {}  # its views: each process has its own table
        self.left: deque[Any] = deque()  # the remains of objects that it has forgotten
        self.version = 0  # the latest version that it gave to an array
        self.chances = 0  # how often it asked for random bytes
        self.session: Any = None  # the session of its store
        self.job = 0  # the number of a client's job
        self.has_fewer = False  # whether its operation was warned that its arrays have fewer replicas
        self._spawned = itertools.count(1)

    def spawn(self, what: str, function: Callable[..., object], *args: Any, key: int = 0) -> Task:
        """Start a task in this process. `key`: of the call that it makes; by default the process's next key."""
        task = Task(self, what, key or mix(self.key, next(self._spawned)), function, args)
        if self.alive:
            self.scheduler.due(self.scheduler.now, task)
        return task

    def let_go(self) -> None:
        """Release the locks of descriptors: see `stage`."""

    def kill(self) -> None:
        """Kill it, as by SIGKILL."""
        if self.alive:
            self.alive, self.stopped = False, False
            self.backlog.clear()
            for file in self.locks:
                file.close()
            self.let_go()
            for work in self.at_death:
                work()

    def stop(self) -> None:
        """Stop it, as by SIGSTOP."""
        self.stopped = self.alive

    def go_on(self) -> None:
        """Let it go on, as by SIGCONT."""
        if self.stopped:
            self.stopped = False
            backlog, self.backlog = self.backlog, []
            for task, parked in backlog:
                self.scheduler.due(self.scheduler.now, task, parked)

    def __repr__(self) -> str:
        return self.name


class Task:
    """One thread of a process."""

    __slots__ = ("_args", "_function", "count", "dead", "interrupt", "key", "parked", "process", "what", "worker")

    def __init__(
        self, process: Process, what: str, key: int, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self.process, self.what, self.key = process, what, key
        self.count = 0  # the number of its draws
        self.parked = 0  # the number of its waits: a wake-up for an earlier wait is ignored
        self.dead = False
        self.worker: _Worker | None = None  # the greenlet that runs it
        self.interrupt: BaseException | None = None
        self._function, self._args = function, args
        process.scheduler.tasks.append(self)

    def work(self) -> None:
        """Run the whole task."""
        try:
            self._function(*self._args)
        except GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001 - of any kind: the world judges it
            self.process.scheduler.failed(self, error)
        finally:
            self.dead, self._function, self._args = True, _nothing, ()

    def draw(self) -> float:
        """A number in [0, 1) that depends on this task and on how often it has drawn."""
        self.count += 1
        return mix(self.key, self.count) / 2**64

    def __repr__(self) -> str:
        return f"{self.process.name}/{self.what}"


def _nothing() -> None:
    pass


class _Worker(greenlet):  # type: ignore[misc]
    """Runs one task after the other: a new greenlet would cost new memory from the kernel."""

    def run(self, task: Task) -> None:
        while True:
            task.work()
            _idle.append(self)
            task = self.parent.switch()


_idle: list[_Worker] = []
_running: Task | None = None


def running() -> Task | None:
    """The task that runs; None outside of all tasks."""
    return _running


def current() -> Scheduler:
    """The scheduler of the task that runs."""
    assert _running is not None, "only tasks wait"
    return _running.process.scheduler


class Scheduler:
    """Virtual time, and all that is due, in its order.

    Parameters
    ----------
    key
        The number that decides all draws.
    resumed
        Called with a process before one of its tasks goes on.
    """

    def __init__(self, key: int, resumed: Callable[[Process], None] = lambda _: None) -> None:
        self.key, self.hub, self.now = key, getcurrent(), 0.0
        self.steps = 0  # the number of steps so far
        self.last: Task | None = None  # the task that made the last step
        self.over = False
        self.tasks: list[Task] = []
        self.errors: list[tuple[Task, BaseException]] = []
        self._resumed = resumed
        self._heap: list[tuple[float, int, Task | Callable[[], object], int]] = []
        self._order = itertools.count()
        self._limit = float("inf")

    # --- for tasks

    @property
    def task(self) -> Task:
        """The task that runs."""
        assert _running is not None, "only tasks wait"
        return _running

    @property
    def process(self) -> Process:
        """The process of the task that runs."""
        return self.task.process

    def sleep(self, seconds: float) -> None:
        """Let other tasks go on for so many seconds."""
        task = self.task
        task.parked += 1
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), task, task.parked))
        self._park(task)

    def step(self) -> None:
        """Let other tasks go on between two steps of a process."""
        self.sleep(self.task.draw() * _STEP)

    def wait(self, futures: Iterable[Future], count: int = 1, timeout: float | None = None) -> list[Future]:
        """Wait until `count` of these are done, or the time is over; returns those that are done."""
        waited = list(futures)
        task, deadline = self.task, None if timeout is None else self.now + timeout
        while True:
            done = [future for future in waited if future.done]
            if len(done) >= min(count, len(waited)) or (deadline is not None and self.now >= deadline):
                return done
            task.parked += 1
            if deadline is not None:
                self.due(deadline, task)
            for future in waited:
                if not future.done:
                    future.waiters.append((task, task.parked))
            self._park(task)

    def _park(self, task: Task) -> None:
        if self.over:
            raise GreenletExit
        self.hub.switch()
        if self.over:
            raise GreenletExit
        if task.interrupt is not None:
            error, task.interrupt = task.interrupt, None
            raise error

    def kill_running(self) -> None:
        """Kill the process of the task that runs, here and now: nothing of it goes on."""
        task = self.task
        task.process.kill()
        task.parked += 1
        self._park(task)

    # --- for the world, outside of tasks

    def at(self, moment: float, work: Callable[[], object]) -> None:
        """Do `work` at this moment, outside of all processes."""
        heapq.heappush(self._heap, (max(moment, self.now), next(self._order), work, 0))

    def due(self, moment: float, task: Task, parked: int | None = None) -> None:
        """Let a task go on at this moment, if it is still in the same wait."""
        heapq.heappush(self._heap, (moment, next(self._order), task, task.parked if parked is None else parked))

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Go on until `until` is true. Raises Stuck if nothing is due any more, or at the moment `limit`."""
        heap = self._heap
        while not until():
            if not heap:
                raise Stuck("no task goes on any more")
            moment, _, what, parked = heapq.heappop(heap)
            if moment > limit:
                raise Stuck(f"not at its end after {limit:.0f} s")
            self.now = max(self.now, moment)
            if not isinstance(what, Task):
                what()
                continue
            process = what.process
            if not process.alive or what.dead or parked != what.parked:
                continue
            if process.stopped:
                process.backlog.append((what, parked))
                continue
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise Stuck(f"not at its end after {self.steps} steps")
            self._go_on(what)
            if self.errors:
                break

    def _go_on(self, task: Task) -> None:
        global _running
        self._resumed(task.process)
        self.last = _running = task
        worker = task.worker
        if worker is not None:
            worker.switch()
        else:
            worker = task.worker = _idle.pop() if _idle else _Worker(None, self.hub)
            worker.switch(task)
        _running = None

    def failed(self, task: Task, error: BaseException) -> None:
        """Note that a task ended with an error."""
        if not self.over:
            self.errors.append((task, error))

    def close(self) -> None:
        """End all tasks; the errors of their `finally` blocks are ignored."""
        global _running
        self.over = True
        for task in self.tasks:
            if task.worker is not None and not task.dead:
                _running = task
                with contextlib.suppress(BaseException):
                    task.worker.throw(GreenletExit)
        _running = None
        self.tasks.clear()
        self._heap.clear()


class Future:
    """An answer that is to come, or an error."""

    __slots__ = ("_scheduler", "done", "error", "value", "waiters")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.done, self.value, self.error = False, None, None
        self.waiters: list[tuple[Task, int]] = []

    value: Any
    error: BaseException | None

    def set(self, value: Any = None, error: BaseException | None = None) -> None:
        """Set the answer or the error; if one was set before, do nothing."""
        if not self.done:
            self.done, self.value, self.error = True, value, error
            for task, parked in self.waiters:
                self._scheduler.due(self._scheduler.now, task, parked)
            self.waiters.clear()

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the answer. Raises the error, or TimeoutError."""
        if not self.done and not self._scheduler.wait([self], 1, timeout):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.value
