"""Look at every worker of the cluster: `inspect()`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

from outlive.errors import OutliveError
from outlive.ray_internals import Connection, config, functions, job_actors, node_workers
from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.node_workers import Node, TaskHistory, WorkerStats
from outlive.workers import probe, reasons, settings
from outlive.workers.rows import NodeReport, Report, Worker

_LOOKS = 16  # nodes that are asked at the same time


class _Cluster:
    """What is the same for all nodes, asked once."""

    def __init__(self, *, with_history: bool) -> None:
        import ray

        self.here: str = Connection().node_id
        self.ray_version: str = ray.__version__
        self.system_config: dict[str, Any] = config.system_config()
        self.started = node_workers.start_times()
        self.histories = node_workers.task_histories() if with_history else {}
        self.max_calls = functions.max_calls() if with_history else {}
        self.cpus = node_workers.available_cpus()
        self.ended = {job.job_id for job in node_workers.jobs() if job.dead}
        self.now = time.time()

    @cached_property
    def actors(self) -> dict[str, list[JobActor]]:
        """Those that live, by job; asked for where a worker's job has ended."""
        return job_actors.by_job()

    def heir(self, job: str | None) -> str | None:
        """A detached actor of this ended job that lives, in words."""
        names = [actor.label for actor in self.actors.get(str(job), ())] if job in self.ended else []
        return None if not names else names[0] if len(names) == 1 else f"{names[0]} (one of {len(names)})"

    def spent(self, stats: WorkerStats) -> str | None:
        """Why the worker takes no more tasks, if so."""
        history = self.histories.get(stats.worker_id, TaskHistory())
        if history.leaving is not None:
            return history.leaving
        for (job, name), calls in history.calls.items():
            limits = self.max_calls.get((job, name), {0})
            if 0 not in limits and calls >= max(limits):  # else another function of that name may have run
                return f"max_calls={max(limits)}"
        return None

    def idle_for(self, stats: WorkerStats) -> float | None:
        """Seconds since its last task ended, or since it started if it ran none."""
        history = self.histories.get(stats.worker_id)
        if history is not None and history.last_end is not None:
            return max(0.0, self.now - history.last_end)
        started = self.started.get(stats.worker_id)
        return max(0.0, self.now - started[0]) if started is not None and stats.executed == 0 else None


def inspect(*, leave_out_job: str | None = None, with_history: bool = True, exact: bool = False) -> Report:
    """Every worker process of the cluster that this process is connected to, and why it is still here.

    Costs one call per raylet and some of the GCS, and changes nothing: no worker is leased, no task runs. The memory of
    workers is read from /proc, so that it is not known of other machines.

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

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster, or the GCS does not answer. A node that does not answer is in the
        report, with its `error`.
    """
    cluster = _Cluster(with_history=with_history)
    nodes = node_workers.nodes()
    here = next((node.ip for node in nodes if node.node_id == cluster.here), None)
    with ThreadPoolExecutor(min(_LOOKS, len(nodes) or 1)) as pool:
        looks = list(pool.map(lambda node: _look(cluster, node, here == node.ip, leave_out_job, exact), nodes))
    return Report(
        time=cluster.now,
        ray_version=cluster.ray_version,
        workers=tuple(worker for _, workers in looks for worker in workers),
        nodes=tuple(node for node, _ in looks),
    )


def _look(
    cluster: _Cluster, node: Node, here: bool, leave_out_job: str | None, exact: bool
) -> tuple[NodeReport, list[Worker]]:
    """One node."""
    try:
        found = [stats for stats in node_workers.workers_of(node) if stats.kind != "DRIVER"]
        error = None
    except OutliveError as problem:
        found, error = [], str(problem)
    found = [stats for stats in found if leave_out_job is None or stats.job != leave_out_job]
    seen = probe.Seen({}, {}, None)
    if error is None and here:
        seen = probe.look(node, [stats.pid for stats in found], here=True)
    elsewhere = not here or (bool(found) and not seen.titles)  # same address, another container
    if error is None and exact and elsewhere:
        seen = probe.look(node, [stats.pid for stats in found], here=False)
    known = settings.in_force(cluster.system_config, seen.environment or {}, cluster.ray_version)
    reaper = settings.reaper(known)
    cpus = cluster.cpus.get(node.node_id, 0)
    report = NodeReport(
        node_id=node.node_id,
        name=node.name,
        available_cpus=cpus,
        keeps=reaper.kept(cpus),
        settings=tuple(known),
        start_at_once=seen.start_at_once,
        settings_known=seen.environment is not None,
        error=error or seen.error,
    )
    return report, _rows(cluster, node, found, seen, reaper, report.keeps)


def _rows(
    cluster: _Cluster,
    node: Node,
    found: Iterable[WorkerStats],
    seen: probe.Seen,
    reaper: settings.Reaper,
    keeps: int,
) -> list[Worker]:
    pairs = [(stats, _facts(cluster, stats)) for stats in found]
    pool = reasons.Pool(reaper, keeps, sum(reasons.killable(facts, reaper) for _, facts in pairs))
    rows = []
    for stats, facts in pairs:
        unique, shared = seen.memory.get(stats.pid, (None, None))
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
        )
        rows.append(replace(row, reasons=reasons.explain(facts, pool)))
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
    )
