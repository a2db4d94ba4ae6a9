"""Workers whose job has ended: whether a task can still reach them, or a process needs their objects.

A raylet gives a worker to tasks of its own job alone (src/ray/raylet/worker_pool.cc, `WorkerFitForLease`), and once the
job has ended only to those that descend from a detached actor of it. Ray's reaper forces all others out, with whatever
they own. Where it is off they stay for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.node_stats import Process
from outlive.workers.rows import Report, Worker


def left_over(workers: Iterable[Worker]) -> list[Worker]:
    """The workers that no task can reach any more."""
    return [
        worker for worker in workers if worker.job_ended and not worker.heir and worker.state in {"idle", "leaving"}
    ]


def unneeded(workers: Sequence[Worker], processes: Iterable[Process]) -> set[str]:
    """The ids of left-over workers that hold nothing that a process needs. They may be forced out, as the reaper would
    do.

    A worker is needed if a process that stays holds an object that this worker owns: the object would be lost. It is
    also needed if a process other than the owner holds an object that this worker borrowed: the owner may know of that
    process through this worker alone.

    Parameters
    ----------
    workers
        Of the whole cluster.
    processes
        Every process of the cluster, with its references. A process that is missing here could hold anything.

    Examples
    --------
    >>> unneeded([], [])
    set()
    """
    by_id = {process.worker_id: process for process in processes}
    free = {worker.worker_id for worker in left_over(workers) if not worker.tasks_pending and worker.worker_id in by_id}
    while True:
        held, borrowed = _held(process for name, process in by_id.items() if name not in free)
        needed = {
            name
            for name in free
            if any(one.object_id in (held if one.owned else borrowed) for one in by_id[name].references)
        }
        if not needed:
            return free
        free -= needed


def _held(processes: Iterable[Process]) -> tuple[set[str], set[str]]:
    """The objects that these processes hold, and those among them that they do not own."""
    references = [one for process in processes for one in process.references]
    return {one.object_id for one in references}, {one.object_id for one in references if not one.owned}


def root(actors: Sequence[JobActor], origin: str | None, *, ended: bool) -> JobActor | None:
    """The detached actor for whose tasks a worker is to be leased. None: for those of its job's driver, or not at all.

    Parameters
    ----------
    actors
        Of the worker's job, the dead ones too.
    origin
        The id of the actor from whose calls the worker's last task descended, if it is known.
    ended
        Its job has ended: only the right actor will do. Otherwise any actor gets a worker that ran for the driver.
    """
    detached = [actor for actor in actors if actor.detached]
    own = [actor for actor in detached if actor.actor_id == origin]
    if not ended:
        return next(iter([*own, *(actor for actor in detached if not actor.dead)]), None)
    living = [actor for actor in detached if actor.alive]
    if not living:
        return None
    return own[0] if own else living[0] if len(living) == 1 else None


def unneeded_now(report: Report) -> set[str]:
    """`unneeded`, for the running cluster. Empty if no left-over worker holds anything, or if any process is silent."""
    from outlive.ray_internals import node_stats, node_workers

    if not any(worker.owned or worker.borrowed for worker in left_over(report.workers)):
        return set()
    looks = node_stats.look_at_all(node_workers.nodes())
    complete = [look for look in looks if isinstance(look, node_stats.NodeStats) and look.complete]
    if len(complete) < len(looks):
        return set()
    return unneeded(report.workers, [process for look in complete for process in look.processes])
