"""Ray's pool of workers on one node, as a model that replays what ran there.

From src/ray/raylet/worker_pool.cc, src/ray/raylet/scheduling/local_lease_manager.cc, src/ray/raylet/node_manager.cc and
src/ray/core_worker/task_submission/normal_task_submitter.cc:

- a lease request prestarts workers if fewer are idle or starting than its backlog and the available CPUs ask for (none
  with a soft limit of 0, as measured with Ray 2.60), and then takes the worker that became idle last, of its job and
  runtime environment, or starts one;
- at most `start_at_once` workers start at a time; the first that is ready serves the request that has waited longest;
- of tasks of one kind run as many as the node has CPUs for, those that wait in `ray.get` too; one more is let in after
  a second, another after two more, and so on;
- a task that waits in `ray.get` gives its CPUs back, and has them again at once when it goes on, free or not;
- the owner keeps a worker for half a second, while it has more tasks of the same kind; then it becomes idle;
- an actor takes a worker that never ran a task, or starts one, which ends with it;
- every `kill_idle_workers_interval_ms` the reaper lets workers go whose job has ended, and then those that are idle for
  longer than the threshold, first those that never ran a task, then the longest idle, while there are more of them than
  the soft limit.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlive.workers.programs import Programs, Step, Submit, Wait, Work
from outlive.workers.settings import Reaper
from outlive.workers.trace import NodeFacts, Task

_NO_JOB = ""
_LEASE = 0.5  # seconds: worker_lease_timeout_milliseconds
_FIRST_DELAY, _LONGEST_DELAY = (
    1.0,
    10.0,
)  # seconds: worker_cap_initial_backoff_delay_ms, worker_cap_max_backoff_delay_ms
_ON_THE_WAY = 0.002  # seconds from a worker to the raylet: a request is slower than the note that the worker waits
_EPSILON = 1e-9

Kind = tuple[str, str]
"""Job and runtime environment: a worker serves only these."""
Class = tuple[str, str, float, int]
"""Environment, function, CPUs, depth: Ray schedules tasks with the same ones alike."""


@dataclass(eq=False)
class Worker:
    """A worker process of the pool."""

    kind: Kind
    used: bool = False
    keep_until: float = 0.0
    idle_since: float = 0.0


@dataclass(eq=False)
class Run:
    """A task on its worker."""

    task: Task
    worker: Worker
    lease_until: float
    steps: deque[Step]
    waits_for: set[str] = field(default_factory=set)


@dataclass
class Pool:
    """One node's workers, at a moment of the replay."""

    facts: NodeFacts
    reaper: Reaper
    programs: Programs
    job_ends: Mapping[str, float]
    first_pass: float
    """Seconds after the trace began."""
    now: float = 0.0
    free: float = 0.0
    """CPUs. Negative while a task that waited has gone on although its CPUs were given away."""
    idle: list[Worker] = field(default_factory=list)
    starting: int = 0
    to_start: deque[Kind] = field(default_factory=deque)
    waiting: list[tuple[float, Task]] = field(default_factory=list)
    """Tasks that have their CPUs and wait for a worker, each with the time since when."""
    queues: dict[Class, deque[Task]] = field(default_factory=dict)
    """Tasks that wait for CPUs."""
    granted: Counter[Class] = field(default_factory=Counter)
    """Tasks that have a worker, or have CPUs and wait for one."""
    let_in: dict[Class, float] = field(default_factory=dict)
    """The time when one more task of a class that is at its limit is let in."""
    depths: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    waiters: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    cold: int = 0
    started: int = 0
    waited: float = 0.0
    idle_seconds: float = 0.0
    curve: list[tuple[float, int]] = field(default_factory=list)
    _events: list[tuple[float, int, str, Any]] = field(default_factory=list)
    _order: Any = field(default_factory=itertools.count)

    def replay(self, until: float) -> None:
        """Replay the trace until this time."""
        self.free = self.facts.cpus
        for job in [_NO_JOB] * self.facts.idle_at_first + list(self.facts.idle_of_jobs):
            self._change(+1)
            self._push(Worker((job, ""), used=job != _NO_JOB))
        for worker in self.idle:
            worker.keep_until = 0.0  # the trace does not tell since when they were idle
        for task in self.programs.roots:
            if task.start < 0:
                self._was_running(task)
            else:
                self._at(max(task.ready, 0.0), "ready", task)
        if not self.reaper.off:
            self._at(self.first_pass, "reap", None)
        while self._events and self._events[0][0] <= until:
            self.now, _, kind, what = heapq.heappop(self._events)
            getattr(self, f"_on_{kind}")(what)
        self.now = until
        for worker in self.idle:
            self.idle_seconds += until - worker.idle_since

    def _at(self, when: float, kind: str, what: Any) -> None:
        if when < math.inf:
            heapq.heappush(self._events, (when, next(self._order), kind, what))

    def _change(self, by: int) -> None:
        self.count += by
        self.curve.append((self.now, self.count))

    # --- tasks

    def _was_running(self, task: Task) -> None:
        """Give a worker to a task that ran when the trace began."""
        self.free -= task.cpus
        self.granted[self._class(task)] += 1
        self._change(+1)
        self._run(task, Worker(_kind(task)))

    def _on_ready(self, task: Task) -> None:
        """`NodeManager::HandleRequestWorkerLease`."""
        queue = self.queues.setdefault(self._class(task), deque())
        if not task.actor and self.reaper.soft_limit != 0:  # `WorkerPool::PrestartWorkers`
            wanted = min(int(self.free), 1 + len(queue)) - len(self.idle) - self.starting
            for _ in range(min(wanted, self.facts.start_at_once - self.starting)):
                self._start(_kind(task))
        queue.append(task)
        self._grant()

    def _grant(self, _: None = None) -> None:
        """`LocalLeaseManager::GrantScheduledLeasesToWorkers`: to each class what it may have."""
        fair = self._fair_share()
        for one, queue in list(self.queues.items()):
            while queue and self.granted[one] <= fair and self._lets_in(one, queue[0]):
                self._give(one, queue.popleft())
            if not queue:
                self.queues.pop(one, None)

    _on_grant = _grant

    def _fair_share(self) -> float:
        """The number of a class's tasks that may run while others wait and more is asked for than the node has."""
        asking = [one for one, queue in self.queues.items() if queue and one[2] > 0]
        if sum(len(self.queues[one]) * one[2] for one in asking) <= self.facts.cpus:
            return math.inf
        return sum(number for one, number in self.granted.items() if one[2] > 0) / len(asking)

    def _lets_in(self, one: Class, task: Task) -> bool:
        most = math.floor(self.facts.cpus / task.cpus + _EPSILON) if task.cpus else math.inf
        over = self.granted[one] - most
        if over >= 0 and not task.actor:
            then = self.let_in.get(one, math.inf)
            if self.now < then:
                soon = self.now + min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(over, 10))
                if soon < then:
                    self.let_in[one] = soon
                    self._at(soon, "grant", None)
                return False
        return task.cpus <= self.free + _EPSILON

    def _give(self, one: Class, task: Task) -> None:
        self.let_in.pop(one, None)
        self.granted[one] += 1
        self.free -= task.cpus
        worker = self._pop(task)
        if worker is not None:
            self._run(task, worker)
            return
        self.waiting.append((self.now, task))
        if self.starting < self.facts.start_at_once:
            self._start(_kind(task))
        else:
            self.to_start.append(_kind(task))

    def _run(self, task: Task, worker: Worker) -> None:
        worker.used = True
        worker.kind = _kind(task)
        if task.actor:
            self._change(-1)  # it does not belong to the pool any more
        self._on_go(Run(task, worker, self.now + _LEASE, self.programs.steps(task)))

    def _on_go(self, run: Run) -> None:
        """Let a task take its next step."""
        while run.steps:
            step = run.steps.popleft()
            if isinstance(step, Work):
                self._at(self.now + step.seconds, "go", run)
                return
            if isinstance(step, Submit):
                self._at(self.now + _ON_THE_WAY, "ready", step.task)
            elif self._waits(run, step):
                return
        self._end(run)

    def _waits(self, run: Run, step: Wait) -> bool:
        run.waits_for = set(step.tasks - self.done)
        if not run.waits_for and not step.seconds:
            return False
        for task in run.waits_for:
            self.waiters[task].append(run)
        if step.seconds:
            self._at(self.now + step.seconds, "unblock", run)
        self.free += run.task.cpus
        self._grant()
        return True

    def _on_unblock(self, run: Run) -> None:
        self.free -= run.task.cpus
        self._on_go(run)

    def _end(self, run: Run) -> None:
        task, one = run.task, self._class(run.task)
        self.done.add(task.id)
        queue = self.queues.get(one, ())
        other = next((other for other in queue if _owner(other) == _owner(task)), None)
        if task.actor or other is None or self.now >= run.lease_until:
            self.granted[one] -= 1
            self.free += task.cpus
            if not task.actor:
                self._push(run.worker)
            self._grant()
        else:
            self.queues[one].remove(other)
            self._on_go(Run(other, run.worker, run.lease_until, self.programs.steps(other)))
        for waiter in self.waiters.pop(task.id, ()):
            waiter.waits_for.discard(task.id)
            if not waiter.waits_for:
                self._on_unblock(waiter)

    def _class(self, task: Task) -> Class:
        depth = self.depths.get(task.id)
        if depth is None:
            depth = self.depths[task.id] = self.depths.get(task.parent, 0) + 1
        return task.environment, task.function, task.cpus, depth

    # --- workers

    def _start(self, kind: Kind) -> None:
        self.starting += 1
        self.started += 1
        self._at(self.now + self.facts.start_up, "started", kind)

    def _on_started(self, kind: Kind) -> None:
        self.starting -= 1
        self._change(+1)
        self._push(Worker(kind))
        while self.to_start and self.starting < self.facts.start_at_once:
            wanted = self.to_start.popleft()
            if any(_kind(task) == wanted for _, task in self.waiting):
                self._start(wanted)

    def _push(self, worker: Worker) -> None:
        """Handle a worker without work: `WorkerPool::PushWorker`."""
        for i, (since, task) in enumerate(self.waiting):
            if _fits(worker, task):
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

    def _pop(self, task: Task) -> Worker | None:
        """The worker that became idle last, if it can serve this: `WorkerPool::FindAndPopIdleWorker`."""
        worker = next((worker for worker in reversed(self.idle) if _fits(worker, task)), None)
        if worker is not None:
            self._leave_idle(worker)
        return worker

    def _leave_idle(self, worker: Worker) -> None:
        self.idle.remove(worker)
        self.idle_seconds += self.now - worker.idle_since

    def _on_reap(self, _: None) -> None:
        """`WorkerPool::TryKillingIdleWorkers`."""
        over = [worker for worker in self.idle if self.job_ends.get(worker.kind[0], math.inf) <= self.now]
        killable = [worker for worker in self.idle if worker not in over and worker.keep_until < self.now]
        many = max(0, len(killable) - self.reaper.kept(max(0, int(self.free))))
        for worker in over + killable[:many]:
            self._leave_idle(worker)
            self._change(-1)
        self._at(self.now + self.reaper.interval_ms / 1000, "reap", None)


def _kind(task: Task) -> Kind:
    return task.job, task.environment


def _owner(task: Task) -> tuple[str, str]:
    return task.job, task.parent


def _fits(worker: Worker, task: Task) -> bool:
    return worker.kind in {_kind(task), (_NO_JOB, task.environment)} and not (task.actor and worker.used)
