"""Record a trace from the running cluster: `record`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from outlive.ray_internals import node_workers, task_times
from outlive.workers.inspection import inspect
from outlive.workers.rows import Report
from outlive.workers.trace import NodeFacts, Sample, Trace, from_events

_START_UP = 0.7  # seconds, if no worker of the cluster told
_MEMORY = 50 << 20  # bytes, if no idle worker was seen
_LAG = 1.5  # seconds for the last task events to reach the GCS (`task_events_report_interval_ms` is 1000)


def record(
    seconds: float,
    *,
    every: float = 0.5,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[float, float], None] | None = None,
    leave_out_job: str | None = None,
) -> Trace:
    """Watch the cluster for a while, and return the tasks that ran. `Trace.lost` counts those that Ray had dropped by
    then.

    Parameters
    ----------
    seconds
        For how long.
    every
        How often the number of workers is sampled.
    stopped
        Asked after each sample: whether to end early.
    progress
        Called with the seconds that are over and the seconds in all.

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster, or it ended meanwhile.
    """
    dropped = node_workers.task_events_dropped()
    began = time.time()
    samples: list[Sample] = []
    first = inspect(with_history=False, leave_out_job=leave_out_job)
    report = first
    while True:
        samples += _samples(report, began)
        passed = time.time() - began
        if progress is not None:
            progress(min(passed, seconds), seconds)
        if passed >= seconds or stopped():
            break
        time.sleep(max(0.0, min(every, seconds - passed)))
        report = inspect(with_history=False, leave_out_job=leave_out_job)
    ended = time.time()
    time.sleep(_LAG)
    tasks = from_events(node_workers.task_events(), began, ended, leave_out_job, task_times.actor_lives())
    ends = {job: end - began for job, end in task_times.job_ends().items() if end <= ended}
    lost = node_workers.task_events_dropped() - dropped
    return Trace(
        tasks=tuple(tasks),
        nodes=tuple(_facts(first, samples)),
        seconds=ended - began,
        samples=tuple(samples),
        job_ends=tuple(ends.items()),
        lost=max(0, lost),
    )


def _samples(report: Report, began: float) -> list[Sample]:
    found = []
    for node in report.nodes:
        pooled = [w for w in report.workers if w.node_id == node.node_id and w.state not in {"actor", "io"}]
        idle = [worker for worker in pooled if worker.state == "idle"]
        unique = sum(worker.unique or 0 for worker in idle)
        found.append(Sample(report.time - began, node.node_id, len(pooled), len(idle), unique))
    return found


def _facts(first: Report, samples: list[Sample]) -> list[NodeFacts]:
    took = [seconds for _, seconds in node_workers.start_times().values() if seconds]
    start_up = statistics.median(took) if took else _START_UP
    cpus = {node.node_id: node.cpus for node in node_workers.nodes()}
    facts = []
    for node in first.nodes:
        mine = [sample for sample in samples if sample.node == node.node_id]
        sizes = [sample.unique / sample.idle for sample in mine if sample.idle and sample.unique]  # 0: not known
        total = cpus.get(node.node_id, 1.0)
        idle = [one.job for one in first.workers if one.node_id == node.node_id and one.state in {"idle", "leaving"}]
        facts.append(
            NodeFacts(
                node=node.node_id,
                cpus=total,
                start_up=start_up,
                start_at_once=max(1, node.start_at_once),
                memory=round(statistics.mean(sizes)) if sizes else _MEMORY,
                idle_at_first=sum(job is None for job in idle),
                idle_of_jobs=tuple(job for job in idle if job is not None),
            )
        )
    return facts
