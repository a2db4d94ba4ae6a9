"""References to objects that are gone with their owner, or will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Symptom, call_site
from outlive.errors import OutliveError, StoreUnavailable
from outlive.explain import decode
from outlive.ray_internals.node_stats import Actor, NodeStats, Process, Reference
from outlive.units import count, format_size

_SHOWN = 20  # references that are given as evidence
_DOCS = "https://docs.ray.io/en/latest/ray-core/fault_tolerance/objects.html#recovering-from-owner-failure"


@dataclass(frozen=True)
class Held:
    """A process that borrows an object."""

    reference: Reference
    holder: Process


def orphans(cluster: Cluster) -> Iterable[Symptom]:
    """References to objects that no living process owns. It looks twice, because references come and go meanwhile."""
    suspects = _orphaned(_complete(cluster.looks))
    if suspects:
        seen = {(one.holder.worker_id, one.reference.object_id) for one in suspects}
        again = _orphaned(_complete(cluster.look_again()))
        suspects = [one for one in again if (one.holder.worker_id, one.reference.object_id) in seen]
    return of_orphans(suspects)


def doomed(cluster: Cluster) -> Iterable[Symptom]:
    """References held by a process that will be there after the owner's job has ended."""
    return of_doomed(cluster.stats, cluster.actors, {job.job_id: job.entrypoint for job in cluster.jobs})


def _complete(looks: list[NodeStats | OutliveError]) -> list[NodeStats]:
    found = [look for look in looks if not isinstance(look, OutliveError) and look.complete]
    if len(found) < len(looks):
        raise StoreUnavailable("not every process of the cluster answered, and one that did not may be the owner")
    return found


def _held(stats: Iterable[NodeStats]) -> Iterator[Held]:
    for node in stats:
        for process in node.processes:
            for reference in process.references:
                if not reference.owned and reference.in_use and not reference.actor_handle:
                    yield Held(reference, process)


def _owners(stats: Iterable[NodeStats]) -> dict[str, Process]:
    return {
        reference.object_id: process
        for node in stats
        for process in node.processes
        for reference in process.references
        if reference.owned
    }


def _orphaned(stats: list[NodeStats]) -> list[Held]:
    owners = _owners(stats)
    return [held for held in _held(stats) if held.reference.object_id not in owners]


def of_orphans(orphaned: list[Held]) -> Iterator[Symptom]:
    """`orphans`, on plain data."""
    if not orphaned:
        return
    processes = len({held.holder.worker_id for held in orphaned})
    what = f"{len(orphaned):,} in {count(processes, 'process', 'processes')}"
    yield Symptom(
        kind="orphan-refs",
        severity="wrong",
        what=f"references whose owner is gone: {what}",
        why="The owner has ended, or has let the object go: ray.get raises OwnerDiedError or "
        "ReferenceCountingAssertionError, or will once the last copy is evicted.",
        fix=f"outlive explain {orphaned[0].reference.object_id} --address auto; make it again, in a process that stays "
        "or with outlive.open().put(array), which no process owns",
        evidence=tuple(_evidence(held, decode(held.reference.object_id).sentence) for held in orphaned[:_SHOWN]),
        source=_DOCS,
        weight=sum({held.reference.object_id: held.reference.size or 0 for held in orphaned}.values()),
    )


def of_doomed(stats: list[NodeStats], actors: list[Actor], entrypoints: dict[str, str]) -> Iterator[Symptom]:
    """`doomed`, on plain data: one finding for each job whose objects are held longer than it lives."""
    owners, detached = _owners(stats), {actor.actor_id for actor in actors if actor.detached}
    names = {actor.actor_id: actor.name or actor.class_name for actor in actors}
    found: dict[str, list[tuple[Held, Process]]] = {}
    for held in _held(stats):
        owner = owners.get(held.reference.object_id)
        if owner is None or owner.job is None or owner.actor in detached:
            continue
        if held.holder.actor in detached or held.holder.job != owner.job:
            found.setdefault(owner.job, []).append((held, owner))
    for job, pairs in sorted(found.items()):
        size = sum({held.reference.object_id: held.reference.size or 0 for held, _ in pairs}.values())
        objects = len({held.reference.object_id for held, _ in pairs})
        entrypoint = f" ({entrypoints[job]})" if entrypoints.get(job) else ""
        yield Symptom(
            kind="doomed-refs",
            severity="risk",
            what=f"objects that end with job {job}{entrypoint}, and are held by processes that stay: "
            f"{count(objects, 'object')} ({format_size(size)})",
            why="Their owner is that job's driver or one of its workers. When the job ends Ray ends them too, and whoever "
            "still holds a reference gets OwnerDiedError.",
            fix='handle = outlive.open().put(array, lifetime="detached")   # hand the handle over: it is no reference',
            evidence=tuple(
                _evidence(
                    held,
                    f"{_label(held.holder, names)} holds it; its owner is {owner.kind.lower()} {owner.pid} "
                    f"on node {owner.node_id[:8]}.",
                )
                for held, owner in pairs[:_SHOWN]
            ),
            source=_DOCS,
            weight=size,
        )


def _label(process: Process, names: dict[str, str]) -> str:
    if process.actor is not None:
        return f"actor {names.get(process.actor, process.actor[:8])}"
    return f"{process.kind.lower()} of job {process.job}"


def _evidence(held: Held, text: str) -> Evidence:
    reference = held.reference
    came = call_site(reference.call_site)
    site = f" Came by {came}." if came else ""
    return Evidence(
        f"object {reference.object_id}: {text}{site}",
        node=held.holder.node_id,
        pid=held.holder.pid,
        numbers={"object_bytes": reference.size},
    )
