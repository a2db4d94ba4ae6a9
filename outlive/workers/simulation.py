"""Ray's pool of workers as a model: replay a trace under any reaper settings, in a fraction of the time.

One node at a time, as each raylet has its own pool. What is modelled, from src/ray/raylet/worker_pool.cc and
src/ray/core_worker/task_submission/normal_task_submitter.cc:

- a lease request prestarts workers if fewer are idle or starting than its backlog and the available CPUs ask for, and
  then takes the worker that became idle last, of its job and runtime environment, or starts one;
- at most `start_at_once` workers start at a time; whoever is ready first serves the request that has waited longest;
- the owner keeps a worker while tasks of the same kind are queued, then returns it, and it becomes idle;
- every `kill_idle_workers_interval_ms` the reaper lets workers go that are idle for longer than the threshold, first
  those that never ran a task, then the longest idle, while there are more of them than the soft limit.

Not modelled: workers that refuse to exit (owners), actors, `max_calls`, other nodes taking a task over.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from outlive.workers.settings import Reaper
from outlive.workers.trace import NodeFacts, Task, Trace

_NO_JOB = ""
Kind = tuple[str, str]
"""Job and runtime environment: what a worker can serve."""


@dataclass
class _Worker:
    kind: Kind
    used: bool = False
    keep_until: float = 0.0
    idle_since: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a reaper with these settings makes of a trace."""

    reaper: Reaper
    tasks: int
    cold_starts: int
    """Tasks that waited for a worker to start."""
    started: int
    """Workers that were started, those that no task waited for too."""
    idle_memory_hours: float
    """GiB of idle workers, times hours."""
    waited: float
    """Seconds that tasks waited for workers to start, all together."""
    curve: tuple[tuple[float, int], ...]
    """(time, number of workers from then on), of all nodes."""

    def workers_at(self, time: float) -> int:
        """How many workers there were."""
        number = 0
        for moment, count in self.curve:
            if moment > time:
                break
            number = count
        return number


@dataclass
class _Pool:
    """One node's workers, at a moment of the replay."""

    facts: NodeFacts
    reaper: Reaper
    now: float = 0.0
    events: list[tuple[float, int, str, Any]] = field(default_factory=list)
    order: Any = field(default_factory=itertools.count)
    free: float = 0.0
    idle: list[_Worker] = field(default_factory=list)
    starting: int = 0
    to_start: deque[Kind] = field(default_factory=deque)
    waiting: list[tuple[float, Task, bool]] = field(default_factory=list)
    """Granted by CPUs, waiting for a worker: since when, the task, whether one was started for it."""
    queued: deque[Task] = field(default_factory=deque)
    """Waiting for CPUs."""
    count: int = 0
    cold: int = 0
    started: int = 0
    waited: float = 0.0
    idle_seconds: float = 0.0
    curve: list[tuple[float, int]] = field(default_factory=list)

    def replay(self, tasks: list[Task], until: float) -> None:
        self.free = self.facts.cpus
        for _ in range(self.facts.idle_at_first):
            self._change(+1)
            self._push(_Worker((_NO_JOB, "")))
        for task in tasks:
            self._at(task.ready, "ready", task)
        if not self.reaper.off:
            self._at(self.reaper.interval_ms / 1000, "reap", None)
        while self.events and self.events[0][0] <= until:
            self.now, _, kind, what = heapq.heappop(self.events)
            getattr(self, f"_on_{kind}")(what)
        self.now = until
        for worker in self.idle:
            self.idle_seconds += until - worker.idle_since

    def _at(self, when: float, kind: str, what: Any) -> None:
        heapq.heappush(self.events, (when, next(self.order), kind, what))

    def _change(self, by: int) -> None:
        self.count += by
        self.curve.append((self.now, self.count))

    def _on_ready(self, task: Task) -> None:
        usable = len(self.idle) + self.starting
        backlog = 1 + sum(_kind(other) == _kind(task) for other in self.queued)
        for _ in range(min(int(self.free), backlog) - usable):  # WorkerPool::PrestartWorkers
            if self.starting < self.facts.start_at_once:
                self._start(_kind(task))
        self.queued.append(task)
        self._grant()

    def _grant(self) -> None:
        """Give CPUs to the tasks that asked first, and a worker to each."""
        while self.queued and self.queued[0].cpus <= self.free + 1e-9:
            task = self.queued.popleft()
            self.free -= task.cpus
            worker = self._pop(_kind(task))
            if worker is not None:
                self._run(task, worker)
                continue
            self.waiting.append((self.now, task, True))
            if self.starting < self.facts.start_at_once:
                self._start(_kind(task))
            else:
                self.to_start.append(_kind(task))

    def _start(self, kind: Kind) -> None:
        self.starting += 1
        self.started += 1
        self._at(self.now + self.facts.start_up, "started", kind)

    def _on_started(self, kind: Kind) -> None:
        self.starting -= 1
        self._change(+1)
        self._push(_Worker(kind))
        self._start_next()

    def _start_next(self) -> None:
        while self.to_start and self.starting < self.facts.start_at_once:
            kind = self.to_start.popleft()
            if sum(_kind(task) == kind for _, task, _ in self.waiting) > 0:
                self._start(kind)

    def _push(self, worker: _Worker) -> None:
        """A worker has nothing to do: WorkerPool::PushWorker."""
        for i, (since, task, _) in enumerate(self.waiting):
            if worker.kind in {_kind(task), (_NO_JOB, task.environment)}:
                del self.waiting[i]
                self.cold += 1
                self.waited += self.now - since
                self._run(task, worker)
                return
        worker.idle_since = self.now
        worker.keep_until = self.now + self.reaper.threshold_ms / 1000
        if worker.used:
            self.idle.append(worker)
        else:
            self.idle.insert(0, worker)

    def _pop(self, kind: Kind) -> _Worker | None:
        """The worker that became idle last, if it can serve this: WorkerPool::FindAndPopIdleWorker."""
        for i in range(len(self.idle) - 1, -1, -1):
            if self.idle[i].kind in {kind, (_NO_JOB, kind[1])}:
                worker = self.idle.pop(i)
                self.idle_seconds += self.now - worker.idle_since
                return worker
        return None

    def _run(self, task: Task, worker: _Worker) -> None:
        worker.used = True
        worker.kind = _kind(task)
        self._at(self.now + (task.end - task.start), "end", (task, worker))

    def _on_end(self, what: tuple[Task, _Worker]) -> None:
        task, worker = what
        for i, other in enumerate(self.queued):  # the owner keeps its lease for a task of the same kind
            if _kind(other) == _kind(task) and other.cpus == task.cpus:
                del self.queued[i]
                self._run(other, worker)
                return
        self.free += task.cpus
        self._push(worker)
        self._grant()

    def _on_reap(self, _: None) -> None:
        """WorkerPool::TryKillingIdleWorkers."""
        killable = [worker for worker in self.idle if worker.keep_until < self.now]
        for worker in killable[: max(0, len(killable) - self.reaper.kept(int(self.free)))]:
            self.idle.remove(worker)
            self.idle_seconds += self.now - worker.idle_since
            self._change(-1)
        self._at(self.now + self.reaper.interval_ms / 1000, "reap", None)


def _kind(task: Task) -> Kind:
    return task.job, task.environment


def simulate(trace: Trace, reaper: Reaper) -> Outcome:
    """Replay a trace under these settings. Each node gets the tasks that it ran."""
    tasks: dict[str, list[Task]] = defaultdict(list)
    for task in trace.tasks:
        tasks[task.node].append(task)
    pools = [_Pool(facts, reaper) for facts in trace.nodes]
    for pool in pools:
        pool.replay(tasks[pool.facts.node], trace.seconds)
    memory = sum(pool.idle_seconds * pool.facts.memory for pool in pools)
    return Outcome(
        reaper=reaper,
        tasks=len(trace.tasks),
        cold_starts=sum(pool.cold for pool in pools),
        started=sum(pool.started for pool in pools),
        idle_memory_hours=memory / (1 << 30) / 3600,
        waited=sum(pool.waited for pool in pools),
        curve=_added([pool.curve for pool in pools]),
    )


def _added(curves: list[list[tuple[float, int]]]) -> tuple[tuple[float, int], ...]:
    """The sum of step functions."""
    steps = []
    for curve in curves:
        before = 0
        for moment, count in curve:
            steps.append((moment, count - before))
            before = count
    total, added = 0, []
    for moment, step in sorted(steps):
        total += step
        added.append((moment, total))
    return tuple(added)
