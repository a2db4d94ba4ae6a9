"""Look at every worker of the cluster: `inspect()`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol

from outlive.ray_internals import config, functions, job_actors, node_workers, processes
from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.node_workers import LiveNode, Registered, TaskHistory
from outlive.ray_internals.processes import Answer, Silent, WorkerStats, worker_stats
from outlive.workers import probe, reasons, settings
from outlive.workers.rows import NodeReport, Report, Worker

_LOOKS = 16  # other machines that run a probe at the same time
_ASKED: tuple[Callable[[], Any], ...] = (config.system_config, node_workers.registered, node_workers.available_cpus)


class Ask(Protocol):
    """Asks nodes: `processes.ask`, or with a memory."""

    def __call__(self, nodes: Sequence[LiveNode], *, registered: Iterable[Registered] | None) -> list[Answer]: ...


class _Cluster:
    """Facts that are the same for all nodes: the GCS is asked once for each, all at the same time."""

    def __init__(self, *, with_history: bool, with_reaper: bool) -> None:
        import ray

        self.ray_version: str = ray.__version__
        self.with_reaper = with_reaper
        self.nodes = node_workers.nodes()  # first: if the GCS is down, this waits once
        self.system_config: dict[str, Any] = {}
        self.registered: list[Registered] | None = None
        self.cpus: dict[str, int] = {}
        with ThreadPoolExecutor(len(_ASKED)) as pool:
            histories = pool.submit(node_workers.task_histories) if with_history else None
            asked = [pool.submit(question) for question in _ASKED] if with_reaper else []
            jobs = node_workers.jobs()
            if asked:
                self.system_config, self.registered, self.cpus = [answer.result() for answer in asked]
            self.histories: dict[str, TaskHistory] = histories.result() if histories else {}
        self.started = {one.worker_id: one.since for one in self.registered or ()}
        self.entrypoints: dict[str, str] = {job.job_id: job.entrypoint for job in jobs}
        self.ended = {job.job_id for job in jobs if job.dead}
        self.now = time.time()

    @cached_property
    def max_calls(self) -> dict[tuple[str, str], list[int]]:
        """The options of the functions that the living workers ran, by job."""
        ran = [self.histories[worker_id].calls for worker_id in self.started if worker_id in self.histories]
        head = next((node.node_id for node in self.nodes if node.head), "")  # only this cluster has this job
        return functions.max_calls({job for calls in ran for job, _ in calls}, head)

    @cached_property
    def actors(self) -> dict[str, list[JobActor]]:
        """The living detached actors, by job. The GCS is asked only if a worker's job has ended."""
        return job_actors.by_job()

    def heir(self, job: str | None) -> str | None:
        """Names a living detached actor of this ended job."""
        names = [actor.label for actor in self.actors.get(str(job), ())] if job in self.ended else []
        return None if not names else names[0] if len(names) == 1 else f"{names[0]} (one of {len(names)})"

    def spent(self, stats: WorkerStats) -> str | None:
        """The reason if the worker takes no more tasks."""
        history = self.histories.get(stats.worker_id, TaskHistory())
        if history.leaving is not None:
            return history.leaving
        for (job, name), calls in history.calls.items():
            if limit := reasons.spent(calls, self.max_calls.get((job, name), ())):
                return limit
        return None

    def idle_for(self, stats: WorkerStats) -> float | None:
        """Seconds since its last task ended, or since it started if it ran none."""
        history = self.histories.get(stats.worker_id)
        if history is not None and history.last_end is not None:
            return max(0.0, self.now - history.last_end)
        started = self.started.get(stats.worker_id)
        return max(0.0, self.now - started) if started is not None and stats.executed == 0 else None


def inspect(
    *,
    leave_out_job: str | None = None,
    with_history: bool = True,
    exact: bool = False,
    memory: bool = True,
    reaper: bool = True,
    ask: Ask = processes.ask,
) -> Report:
    """Every worker process of the cluster that this process is connected to, and why it is still here.

    It costs one call per raylet and a few calls of the GCS, and changes nothing: no worker is leased, and no task runs.
    The memory of workers is read from /proc, so it is unknown for other machines. If a raylet has not answered after
    1.5 s, each of its processes is asked by itself. A process that has not answered after 3 s is in the report as
    `silent`.

    Parameters
    ----------
    leave_out_job
        A job whose workers are not shown, such as the one of a command that only looks.
    with_history
        Ask the GCS for the latest 10,000 tasks: else it is not known how long a worker has been idle, and whether its
        `max_calls` are spent. Takes some tenths of a second where many tasks ran.
    exact
        Ask other machines too, each by a task of no CPUs in this process's job: for their workers' memory and titles,
        and for their raylets' own settings. To an autoscaler, a node that ran it is idle only since then.
    memory
        Read the workers' memory, and their raylets' own settings, on this machine. It takes a millisecond a worker and
        more, as the kernel counts its pages.
    reaper
        Ask the GCS for what Ray's reaper goes by. Else a worker has only the reasons for which it refuses to exit, and
        `idle_for` is not known without its history: enough to tell who may leave.
    ask
        How the nodes are asked, if not each by its raylet.

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster, or the GCS does not answer, which takes up to 10 s. A node that does
        not answer is in the report, with its `error`.
    """
    cluster = _Cluster(with_history=with_history, with_reaper=reaper)
    heard = [_Heard(answer, leave_out_job) for answer in ask(cluster.nodes, registered=cluster.registered)]
    here = probe.look({one.node.node_id: one.pids for one in heard}) if memory else probe.Seen()
    elsewhere = [one for one in heard if exact and one.node.node_id not in here.raylets and not one.answer.error]
    with ThreadPoolExecutor(min(_LOOKS, len(elsewhere) or 1)) as pool:
        looks = pool.map(lambda one: probe.look_there(one.node, one.pids), elsewhere)
        there = {one.node.node_id: look for one, look in zip(elsewhere, looks, strict=True)}
    nodes, workers = [], []
    for one in heard:
        node, rows = _look(cluster, one, there.get(one.node.node_id, here))
        nodes.append(node)
        workers += rows
    mine = {worker.job for worker in workers}
    entrypoints = {job: text for job, text in cluster.entrypoints.items() if job in mine}
    return Report(cluster.now, cluster.ray_version, tuple(workers), tuple(nodes), entrypoints)


class _Heard:
    """A node's processes, without the drivers, and without those of a job that is left out."""

    def __init__(self, answer: Answer, leave_out_job: str | None) -> None:
        self.answer = answer
        self.node = answer.node
        self.found = [
            stats
            for stats in worker_stats(answer)
            if stats.kind != "DRIVER" and (leave_out_job is None or stats.job != leave_out_job)
        ]
        self.silent = [one for one in answer.silent if one.kind != "DRIVER"]

    @property
    def pids(self) -> list[int]:
        """The node's processes, those that answered and those that did not."""
        return [*(stats.pid for stats in self.found), *(one.pid for one in self.silent)]


def _look(cluster: _Cluster, heard: _Heard, seen: probe.Seen) -> tuple[NodeReport, list[Worker]]:
    """One node."""
    node, raylet = heard.node, seen.raylets.get(heard.node.node_id)
    if raylet is None:
        seen = probe.Seen(error=seen.error)  # on this machine these pids belong to other processes
    environment = None if raylet is None else raylet.environment
    known = (
        settings.in_force(cluster.system_config, environment or {}, cluster.ray_version) if cluster.with_reaper else []
    )
    reaper = settings.reaper(known) if cluster.with_reaper else None
    cpus = cluster.cpus.get(node.node_id, 0)
    report = NodeReport(
        node_id=node.node_id,
        name=node.name,
        available_cpus=cpus,
        keeps=reaper.kept(cpus) if reaper else 0,
        settings=tuple(known),
        start_at_once=0 if raylet is None else raylet.start_at_once,
        settings_known=environment is not None,
        error=heard.answer.error or seen.error,
    )
    rows = _rows(cluster, node, heard.found, seen, reaper, report.keeps)
    return report, [*rows, *(_silent_row(cluster, node, one, seen) for one in heard.silent)]


def _silent_row(cluster: _Cluster, node: LiveNode, one: Silent, seen: probe.Seen) -> Worker:
    """A worker that did not answer: only what other processes say of it is known."""
    unique, shared = seen.memory.get(one.pid, (None, None))
    history = cluster.histories.get(one.worker_id, TaskHistory())
    last = history.last_end or cluster.started.get(one.worker_id)
    jobs = {job for job, _ in history.calls}  # a worker belongs to one job for its whole life
    return Worker(
        node_id=node.node_id,
        worker_id=one.worker_id,
        pid=one.pid,
        job=one.job or min(jobs, default=None),
        title=seen.titles.get(one.pid),
        state="silent",
        idle_for=None,
        unique=unique,
        shared=shared,
        owned=0,
        borrowed=0,
        tasks=0,
        silent_since=one.since,
        function=history.last_function,
        reasons=(reasons.silent(time.time() - one.since, last and cluster.now - last, one.pid in seen.stopped),),
    )


def _rows(
    cluster: _Cluster,
    node: LiveNode,
    found: Iterable[WorkerStats],
    seen: probe.Seen,
    reaper: settings.Reaper | None,
    keeps: int,
) -> list[Worker]:
    pairs = [(stats, _facts(cluster, stats)) for stats in found]
    pool = None
    if reaper is not None:
        killable = [facts for _, facts in pairs if reasons.killable(facts, reaper)]
        pool = reasons.Pool(reaper, keeps, len(killable), sum(facts.unused for facts in killable))
    rows = []
    for stats, facts in pairs:
        unique, shared = seen.memory.get(stats.pid, (None, None))
        history = cluster.histories.get(stats.worker_id)
        row = Worker(
            node_id=node.node_id,
            worker_id=stats.worker_id,
            pid=stats.pid,
            job=stats.job,
            title=seen.titles.get(stats.pid),
            state=facts.state,
            idle_for=facts.idle_for if facts.state in {"idle", "leaving"} else None,
            unique=unique,
            shared=shared,
            owned=stats.owned,
            borrowed=facts.borrowed,
            tasks=stats.executed,
            tasks_pending=stats.pending,
            job_ended=facts.job_ended,
            heir=facts.heir,
            function=history.last_function if history else None,
            reasons=reasons.explain(facts, pool),
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row.state != "idle", -(row.unique or 0)))


def _facts(cluster: _Cluster, stats: WorkerStats) -> reasons.Facts:
    spent = None
    if stats.kind != "WORKER":
        state: Any = "io"
    elif stats.actor is not None:
        state = "actor"
    elif stats.running:
        state = "running"
    else:
        spent = cluster.spent(stats)
        state = "leaving" if spent else "idle"
    return reasons.Facts(
        state=state,
        owned=stats.owned,
        borrowed=max(0, stats.in_scope - stats.owned),
        pending=stats.pending,
        idle_for=cluster.idle_for(stats),
        spent=spent,
        job_ended=stats.job in cluster.ended,
        heir=cluster.heir(stats.job),
        unused=stats.executed == 0,
    )
