"""Let idle workers go by a rule, without harm: `trim`.

For every worker that is to leave: lease it, so that no task can reach it; ask it to exit, which it refuses if it has
come to hold anything; return the lease (`outlive.ray_internals.leases`). The raylet leases the latest idle worker
first, so others may have to be held for the few milliseconds until the right one comes. A task that arrives just then
starts a new worker.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from outlive.errors import BadSetting, StoreUnavailable
from outlive.metrics import tallied
from outlive.ray_internals import job_actors, leases, node_workers, processes
from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.leases import Lease, Pool
from outlive.ray_internals.node_workers import LiveNode, TaskHistory
from outlive.ray_internals.processes import worker_stats
from outlive.workers import ended
from outlive.workers.bounds import Bounds, Candidate, bounds, choose, choose_of_job
from outlive.workers.idle_sizes import IdleSizes
from outlive.workers.inspection import inspect
from outlive.workers.rows import Report, Worker

_TAKEN = "stays: a task took it meanwhile, or it is of a runtime environment that has run no task yet"
_GONE = "not needed: it has ended meanwhile"
_HEIR = "stays: its job has ended, and trim cannot tell which actor may use it: {}, or another"
_NO_ANSWER = "stays: it does not answer any more"
_NO_JOB = "stays: it is of no job yet, and no job runs in whose name it could be leased"
_OUTCOMES: dict[bool | None, str] = {
    True: "left",
    False: "stays: it has come to hold an object or a reference",
    None: "did not answer: no task will reach it, and it ends with its job at the latest",
}
_SILENT = "did not answer: its job has ended, and no task will reach it"
CALLED_OFF = "stays: it was not asked, as the rule was changed meanwhile"
GoOn = Callable[[], bool]
"""Asked before each worker: whether to go on."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Choice:
    """A worker that trim let go, or would let go."""

    worker: Worker
    because: str
    outcome: str = "would leave"
    """`left`; `would leave` (dry run); or what kept it."""

    @property
    def left(self) -> bool:
        """Whether it has left."""
        return self.outcome == "left"


@dataclass(frozen=True)
class Trimmed:
    """The result of trim: the workers that left or would leave, and those that are spared."""

    chosen: tuple[Choice, ...]
    spared: tuple[Worker, ...]
    """Idle workers that are never touched. Each has its reason."""
    unseen: tuple[str, ...] = ()
    """Names the nodes, and the possibly idle workers, that did not answer."""

    @property
    def freed(self) -> int:
        """Bytes of unique memory of the workers that left, or would leave."""
        return sum(
            choice.worker.unique or 0 for choice in self.chosen if choice.left or choice.outcome == "would leave"
        )


def trim(
    *,
    min_idle: int = 0,
    max_idle: int | None = None,
    max_memory: str | int | None = None,
    job: str | None = None,
    dry_run: bool = False,
) -> Trimmed:
    """Let idle workers go, on each node, until the bounds hold. Never one that runs a task or owns an object.

    Parameters
    ----------
    min_idle
        Idle workers that stay on each node, whatever the other bounds say.
    max_idle
        Idle workers that may stay on each node. The largest leave first.
    max_memory
        As in "2GiB": an idle worker with more unique memory leaves. Other machines that have idle workers are asked for
        their memory, each by a task of no CPUs.
    job
        Only workers of this job, and those of no job yet.
    dry_run
        Only say which workers would leave.

    Returns
    -------
    Trimmed
        The workers that left, and the idle ones that were spared, each with its reason.

    Raises
    ------
    BadSetting
        The bounds contradict each other.
    StoreUnavailable
        This process is connected to no cluster, or the GCS does not answer. Other silence is in `unseen`.
    UnsupportedRay
        This version of Ray leases workers in a way that outlive does not know.
    """
    limits = bounds(min_idle, max_idle, max_memory)
    leases.return_left()  # of a raylet that did not answer when this process trimmed before
    report = inspect(with_history=False)
    return carry_out(report, decide(report, limits, job), job, dry_run=dry_run)


def decide(report: Report, limits: Bounds, job: str | None = None, sizes: IdleSizes | None = None) -> list[Choice]:
    """The workers that should leave.

    Parameters
    ----------
    sizes
        The known memory of workers on other machines, if this is not the first time.

    Raises
    ------
    BadSetting
        There is no such job.
    """
    if job is not None:
        _check_job(job)
    if limits.need_sizes:
        report = (sizes or IdleSizes()).filled(report, limits.min_idle)
    return choose_in(report, limits, ended.unneeded_now(report), job)


def choose_in(
    report: Report, limits: Bounds, unneeded: Collection[str], job: str | None = None, apart: Collection[str] = ()
) -> list[Choice]:
    """The workers of a report that should leave. Nobody is asked anything.

    Parameters
    ----------
    unneeded
        The ids of workers of ended jobs that hold something that no process needs.
    apart
        The ids of workers that stay this time.
    """
    chosen: list[Choice] = []
    idle = [
        worker
        for worker in report.workers
        if (worker.state == "idle" or worker.worker_id in unneeded) and (job is None or worker.job in {job, None})
    ]
    by_id = {worker.worker_id: worker for worker in idle}
    may_leave = {
        worker.worker_id: Candidate(worker.worker_id, worker.unique, worker.idle_for, worker.node_id)
        for worker in idle
        if (worker.retirable or worker.worker_id in unneeded) and worker.worker_id not in apart
    }
    by_node: dict[str, list[Worker]] = {node.node_id: [] for node in report.nodes}
    for worker in idle:
        by_node.setdefault(worker.node_id, []).append(worker)
    for workers in by_node.values():
        candidates = [may_leave[one.worker_id] for one in workers if one.worker_id in may_leave]
        found = choose(candidates, len(workers), limits, sum(worker.unique or 0 for worker in workers))
        chosen += [Choice(by_id[one.worker_id], why) for one, why in found]
    if limits.max_job_memory is not None:
        chosen += _choose_by_job(idle, may_leave, chosen, limits)
    return chosen


def _choose_by_job(
    idle: Sequence[Worker], may_leave: Mapping[str, Candidate], chosen: Sequence[Choice], limits: Bounds
) -> list[Choice]:
    """The workers that have to leave beside the chosen ones, so that no job's idle workers keep too much."""
    leaving = {choice.worker.worker_id for choice in chosen}
    staying = [worker for worker in idle if worker.worker_id not in leaving]
    by_id = {worker.worker_id: worker for worker in staying}
    remaining = Counter(worker.node_id for worker in staying)
    more: list[Choice] = []
    for job in sorted({worker.job for worker in staying if worker.job is not None}):
        own = [worker for worker in staying if worker.job == job]
        candidates = [may_leave[one.worker_id] for one in own if one.worker_id in may_leave]
        for one, why in choose_of_job(candidates, remaining, limits, sum(worker.unique or 0 for worker in own)):
            more.append(Choice(by_id[one.worker_id], why))
            remaining[one.node_id] -= 1
    return more


def _check_job(job: str) -> None:
    known = [one.job_id for one in node_workers.jobs()]
    if job not in known:
        raise BadSetting(f"no job {job!r}: the cluster knows {', '.join(sorted(known))}")


def carry_out(
    report: Report, chosen: list[Choice], job: str | None = None, *, dry_run: bool = False, go_on: GoOn = _always
) -> Trimmed:
    """Let the chosen workers go.

    Parameters
    ----------
    go_on
        Asked before each worker. Once it says no, the others stay, and their outcome is `CALLED_OFF`.
    """
    leaving = {choice.worker.worker_id for choice in chosen}
    spared = tuple(
        worker
        for worker in report.workers
        if worker.state in {"idle", "leaving"}
        and not worker.retirable
        and worker.worker_id not in leaving
        and (job is None or worker.job in {job, None})
    )
    if dry_run or not chosen:
        return Trimmed(tuple(chosen), spared, report.unseen)
    done = _let_go(report, chosen, go_on)
    asked = [choice for choice in done if choice.outcome != CALLED_OFF]
    tallied.trimmed(left := sum(choice.left for choice in asked), len(asked) - left)
    return Trimmed(tuple(done), spared, report.unseen)


def lacks_job(chosen: Sequence[Choice]) -> bool:
    """Whether a chosen worker has no job yet while no job runs. A process that joined the cluster would be a job."""
    return any(choice.worker.job is None for choice in chosen) and all(job.dead for job in node_workers.jobs())


def _let_go(report: Report, chosen: Sequence[Choice], go_on: GoOn) -> list[Choice]:
    left_over = {worker.worker_id for worker in ended.left_over(report.workers)}
    done = _ask_left_over([choice for choice in chosen if choice.worker.worker_id in left_over], go_on)
    wanted = [choice for choice in chosen if choice.worker.worker_id not in left_over]
    try:
        reached = _reach(report, wanted, go_on) if wanted else []
    except StoreUnavailable as error:  # the GCS does not answer, so that nobody was reached
        if not done:
            raise
        reached = [replace(choice, outcome=f"stays: {error}") for choice in wanted]
    ids = {choice.worker.worker_id for choice in reached}
    gone = [
        replace(choice, outcome=_unreached(choice.worker)) for choice in wanted if choice.worker.worker_id not in ids
    ]
    order = {choice.worker.worker_id: rank for rank, choice in enumerate(chosen)}
    return sorted([*done, *reached, *gone], key=lambda choice: order[choice.worker.worker_id])


def _reach(report: Report, wanted: Sequence[Choice], go_on: GoOn) -> list[Choice]:
    """Retire workers that a task could reach. Once some have left, a GCS that does not answer any more is no error."""
    idle = Counter(worker.node_id for worker in report.workers if worker.state in {"idle", "silent"})
    actors, histories = job_actors.by_job(dead=True), node_workers.task_histories()
    silent: dict[str, str] = {}
    reached = _retire_all(wanted, idle, actors, histories, go_on, silent)
    with contextlib.suppress(StoreUnavailable):
        guessed = _guessed([choice.worker for choice in reached if choice.outcome == _TAKEN], histories)
        if missed := [choice for choice in reached if choice.worker.worker_id in guessed]:
            again = _retire_all(missed, idle, actors, guessed, go_on, silent)
            reached = [choice for choice in reached if choice.worker.worker_id not in guessed] + again
    return reached


def _guessed(workers: Sequence[Worker], histories: Mapping[str, TaskHistory]) -> dict[str, TaskHistory]:
    """For workers that ran no task yet: the runtime environment that most other workers of the job have.

    Workers without one are left out: if no worker of a pool is idle, a lease makes the raylet start one.
    """
    jobs = {job.job_id: job for job in node_workers.jobs()} if workers else {}
    used: dict[str, Counter[bytes]] = {}
    for history in histories.values():
        for job_id in {job_id for job_id, _ in history.calls}:
            job, environment = jobs.get(job_id), history.runtime_env
            if job is not None and environment is not None and not leases.is_job_environment(job, environment):
                used.setdefault(job_id, Counter())[environment] += 1
    return {
        worker.worker_id: TaskHistory(runtime_env=used[str(worker.job)].most_common(1)[0][0])
        for worker in workers
        if str(worker.job) in used and histories.get(worker.worker_id, TaskHistory()).runtime_env is None
    }


def _unreached(worker: Worker) -> str:
    """The reason why no lease could be asked for."""
    if worker.job is None:
        return _NO_JOB
    return _HEIR.format(worker.heir) if worker.heir else _GONE


def _ask_left_over(chosen: Sequence[Choice], go_on: GoOn) -> list[Choice]:
    """Ask workers of ended jobs to exit. No task can reach them, so no lease is needed.

    A worker that still holds something is forced, as the reaper would do: `ended.unneeded` found that no process needs
    it.
    """
    if not chosen:
        return []
    actors = job_actors.by_job()  # look once more, because the report may be old
    theirs = {choice.worker.node_id for choice in chosen}
    answers = processes.ask([node for node in node_workers.nodes() if node.node_id in theirs])
    found = {stats.worker_id: stats for answer in answers for stats in worker_stats(answer)}
    silent = {one.worker_id for answer in answers for one in answer.silent}
    done = []
    for choice in chosen:
        worker, stats = choice.worker, found.get(choice.worker.worker_id)
        if stats is None:
            outcome = _NO_ANSWER if worker.worker_id in silent else _GONE
        elif actors.get(str(worker.job)) or stats.running or stats.pending:
            outcome = _TAKEN
        elif not go_on():
            outcome = CALLED_OFF
        else:
            exits = leases.ask_to_exit(stats.address, force=bool(worker.owned or worker.borrowed))
            outcome = _SILENT if exits is None else _OUTCOMES[exits]
        done.append(replace(choice, outcome=outcome))
    return done


def _retire_all(
    chosen: Sequence[Choice],
    idle: Mapping[str, int],
    actors: Mapping[str, Sequence[JobActor]],
    histories: Mapping[str, TaskHistory],
    go_on: GoOn,
    silent: dict[str, str],
) -> list[Choice]:
    nodes = {node.node_id: node for node in node_workers.nodes()}
    return [
        choice
        for (node_id, pool), members in _pools(chosen, actors, histories).items()
        if node_id in nodes
        for choice in _retire(nodes[node_id], pool, members, idle[node_id], go_on, silent)
    ]


def _pools(
    chosen: Sequence[Choice], actors: Mapping[str, Sequence[JobActor]], histories: Mapping[str, TaskHistory]
) -> dict[tuple[str, Pool], list[Choice]]:
    """The chosen workers by node and pool: what a lease must ask for to get one of them."""
    jobs = {job.job_id: job for job in node_workers.jobs()}
    alive = next((job for job in jobs.values() if not job.dead), None)
    pools: dict[tuple[str, Pool], list[Choice]] = {}
    for choice in chosen:
        worker = choice.worker
        job = jobs.get(worker.job) if worker.job else alive
        if job is None:
            continue
        history = histories.get(worker.worker_id, TaskHistory())
        members = actors.get(job.job_id, ())
        root = ended.root(members, history.actor, ended=job.dead)
        if job.dead and root is None:
            continue
        caller = next(actor for actor in members if actor.detached and actor.alive) if job.dead else None
        environment = history.runtime_env or (leases.job_environment(job) if worker.job else leases.NO_ENVIRONMENT)
        pool = Pool(job, environment, history.gpu, root, caller)
        pools.setdefault((worker.node_id, pool), []).append(choice)
    return pools


def _retire(
    node: LiveNode, pool: Pool, members: Sequence[Choice], idle: int, go_on: GoOn, silent: dict[str, str]
) -> list[Choice]:
    """Lease workers of the pool until all members have come, or none is idle; ask the members to exit.

    It takes at most `idle` leases: if no worker is idle, the raylet would start one. If the raylet does not answer, the
    workers stay, and it is noted in `silent`: who is there is not asked for other pools, each for many seconds.
    """
    if node.node_id in silent:
        return [replace(choice, outcome=silent[node.node_id]) for choice in members]
    wanted = {choice.worker.worker_id: choice for choice in members}
    held: list[Lease] = []
    done: list[Choice] = []
    try:
        for _ in range(idle):
            if not go_on():
                return done + [replace(choice, outcome=CALLED_OFF) for choice in wanted.values()]
            if not wanted or (lease := leases.take(node, pool)) is None:
                break
            choice = wanted.pop(lease.worker_id, None)
            if choice is None:
                held.append(lease)
                continue
            exits: bool | None = None
            try:
                exits = leases.let_exit(lease)
                done.append(replace(choice, outcome=_OUTCOMES[exits]))
            finally:
                leases.give_back(lease, exiting=exits is not False)
    except StoreUnavailable as error:
        silent[node.node_id] = f"stays: {error}"
        return done + [replace(choice, outcome=silent[node.node_id]) for choice in wanted.values()]
    finally:
        try:
            while held:  # the last first, so that they keep their order of idleness
                with contextlib.suppress(StoreUnavailable):  # the others are returned, and the round is written down
                    leases.give_back(held.pop())
        finally:
            for lease in held:  # this was interrupted: the next trim returns them
                leases.leave(lease)
    return done + [replace(choice, outcome=_TAKEN) for choice in wanted.values()]
