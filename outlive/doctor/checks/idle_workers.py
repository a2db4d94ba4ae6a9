"""Idle workers that cannot leave: owners, spent owners, and holders of borrowed references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Symptom, call_site
from outlive.units import count, format_duration, format_size

if TYPE_CHECKING:
    from outlive.ray_internals.node_stats import NodeStats, Process
    from outlive.workers.rows import Worker

# seconds: Ray's default idle_worker_killing_time_threshold_ms; until then a worker may be between two tasks
_SETTLED = 1.0
_SITES = 2  # call sites that are shown for each worker
_KEEP = "handle = outlive.open().put(array)   # instead of ray.put(array): no worker owns it; handle.get() reads it"
_REFUSES = "Ray: src/ray/core_worker/core_worker.cc, CoreWorker::HandleExit"


def owners(cluster: Cluster) -> Iterable[Symptom]:
    """Workers of the pool that are idle and own objects."""
    return of_owners(cluster.report.workers, by_worker(cluster.stats))


def spent(cluster: Cluster) -> Iterable[Symptom]:
    """Workers that take no more tasks, and own objects."""
    return of_spent(cluster.report.workers, by_worker(cluster.stats))


def borrowers(cluster: Cluster) -> Iterable[Symptom]:
    """Workers that are idle, own nothing and hold references."""
    return of_borrowers(cluster.report.workers, by_worker(cluster.stats))


def by_worker(stats: Iterable[NodeStats]) -> dict[str, Process]:
    """The processes by worker id."""
    return {process.worker_id: process for node in stats for process in node.processes}


def of_owners(workers: Iterable[Worker], processes: dict[str, Process]) -> Iterator[Symptom]:
    """`owners`, on plain data."""
    found = [worker for worker in workers if worker.state == "idle" and worker.owned and _settled(worker)]
    if not found:
        return
    memory, held = sum(worker.unique or 0 for worker in found), sum(_owned(worker, processes)[1] for worker in found)
    objects = sum(worker.owned for worker in found)
    yield Symptom(
        kind="idle-owners",
        severity="waste",
        what=f"idle owners: {_sum(found)} that no setting frees; {count(objects, 'object')} ({format_size(held)})",
        why="No setting lets them go while their objects live, and if one is killed (out of memory, a crash) its objects "
        "are lost: OwnerDiedError.",
        fix=_KEEP,
        evidence=tuple(_of_owner(worker, processes) for worker in _largest(found)),
        source=_REFUSES,
        weight=memory + held,
    )


def of_spent(workers: Iterable[Worker], processes: dict[str, Process]) -> Iterator[Symptom]:
    """`spent`, on plain data."""
    found = [worker for worker in workers if worker.state == "leaving" and worker.owned]
    if not found:
        return
    memory, held = sum(worker.unique or 0 for worker in found), sum(_owned(worker, processes)[1] for worker in found)
    objects = sum(worker.owned for worker in found)
    yield Symptom(
        kind="spent-owners",
        severity="risk",
        what=f"spent owners: {count(objects, 'object')} ({format_size(held)}) of {_sum(found)}, about to exit "
        "(max_calls reached, or a limit of recycle)",
        why="A spent worker takes no more tasks and waits for its objects to go. Ray kills it with them when memory "
        "runs out or its job ends.",
        fix=_KEEP,
        evidence=tuple(_of_owner(worker, processes) for worker in _largest(found)),
        source='Ray: src/ray/core_worker/reference_count.cc ("This worker is still managing ... objects, waiting for them to go out of '
        'scope before shutting down"), https://github.com/ray-project/ray/issues/44931',
        weight=memory + held,
    )


def of_borrowers(workers: Iterable[Worker], processes: dict[str, Process]) -> Iterator[Symptom]:
    """`borrowers`, on plain data."""
    found = [
        worker
        for worker in workers
        if worker.state in {"idle", "leaving"} and worker.borrowed and not worker.owned and _settled(worker)
    ]
    if not found:
        return
    memory, held = sum(worker.unique or 0 for worker in found), sum(worker.borrowed for worker in found)
    yield Symptom(
        kind="idle-borrowers",
        severity="waste",
        what=f"idle borrowers: {_sum(found)} that no setting frees; {count(held, 'borrowed reference')}",
        why="A worker that holds a reference refuses to exit, and keeps the object alive in its owner and on its node.",
        fix="Drop them: `outlive lint .` finds globals and caches that keep refs or actor handles between tasks. "
        "RAY_record_ref_creation_sites=1, set before Ray starts, shows here where each came from.",
        evidence=tuple(_of_borrower(worker, processes) for worker in _largest(found)),
        source=_REFUSES,
        weight=memory,
    )


def _settled(worker: Worker) -> bool:
    """Whether it is more than just between two tasks. Ray may not tell how long it has been idle."""
    return worker.idle_for is None or worker.idle_for >= _SETTLED


def _largest(workers: list[Worker]) -> list[Worker]:
    return sorted(workers, key=lambda worker: -(worker.unique or 0))


def _sum(workers: list[Worker]) -> str:
    memory = format_size(sum(worker.unique or 0 for worker in workers))
    return f"{count(len(workers), 'worker')} with {memory} of memory"


def _owned(worker: Worker, processes: dict[str, Process]) -> tuple[list[str], int]:
    """The call sites of a worker's objects, with their bytes."""
    process = processes.get(worker.worker_id)
    mine = [one for one in process.references if one.owned] if process is not None else []
    return _sites(one.call_site for one in mine), sum(one.size or 0 for one in mine)


def _sites(sites: Iterable[str]) -> list[str]:
    return sorted({found for site in sites if (found := call_site(site))})[:_SITES]


def _of_owner(worker: Worker, processes: dict[str, Process]) -> Evidence:
    sites, held = _owned(worker, processes)
    return _evidence(worker, f"owns {count(worker.owned, 'object')} ({format_size(held)})", sites, held)


def _of_borrower(worker: Worker, processes: dict[str, Process]) -> Evidence:
    process = processes.get(worker.worker_id)
    references = process.references if process is not None else ()
    handles = sum(one.actor_handle for one in references)
    text = f"holds {count(worker.borrowed, 'reference')}"
    if handles:
        text += f", {handles} of them to actors"
    return _evidence(worker, text, _sites(one.call_site for one in references), None)


def _evidence(worker: Worker, what: str, sites: list[str], held: int | None) -> Evidence:
    idle = "an unknown time" if worker.idle_for is None else format_duration(worker.idle_for)
    memory = "unknown" if worker.unique is None else format_size(worker.unique)
    where = f"; from {'; '.join(sites)}" if sites else ""
    return Evidence(
        f"{worker.title or 'worker'}, job {worker.job}: {what}, memory {memory}, idle for {idle}{where}",
        node=worker.node_id,
        pid=worker.pid,
        numbers={
            "owned": worker.owned,
            "borrowed": worker.borrowed,
            "object_bytes": held,
            "unique_bytes": worker.unique,
            "idle_seconds": worker.idle_for,
        },
    )
