"""Nodes that do not answer, and nodes that do nothing and cannot be removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Severity, Symptom
from outlive.errors import OutliveError
from outlive.ray_internals import raylets
from outlive.ray_internals.node_stats import Activity, Actor, NodeStats, RunningTask
from outlive.ray_internals.node_table import NAMESPACE
from outlive.ray_internals.node_workers import LiveNode
from outlive.units import count, format_duration, format_size

LONG_TASK = 300.0
"""Seconds: the autoscaler's default idle timeout (`idle_timeout_minutes` 5, ray/autoscaler/_private/util.py)."""
_SOURCE = (
    "Ray: src/ray/raylet/scheduling/local_resource_manager.cc, GetResourceIdleTime; "
    "https://docs.ray.io/en/latest/cluster/vms/user-guides/configuring-autoscaling.html"
)


def silent(cluster: Cluster) -> Iterable[Symptom]:
    """Nodes that do not answer although Ray takes them for alive."""
    return of_silent(list(zip(cluster.nodes, cluster.looks, strict=True)), raylets.log_folder, raylets.pid_here)


def kept(cluster: Cluster) -> Iterable[Symptom]:
    """Nodes on which nothing works and that no idle timeout removes. The head is left out.

    A keeper of outlive does not count as a reason: it copies its arrays elsewhere and leaves if an autoscaler could
    take the node.
    """
    for stats in cluster.stats:
        if stats.node.node_id == cluster.head:
            continue
        here = stats.node.node_id
        yield from of_kept(
            stats,
            [actor for actor in cluster.actors if actor.node_id == here and actor.namespace != NAMESPACE],
            [task for task in cluster.running_tasks if task.node_id == here],
            cluster.activities.get(here, Activity(draining=False, reasons=())),
            own_job=cluster.own_job,
            scaled=cluster.scaled,
        )


def of_silent(
    looks: list[tuple[LiveNode, NodeStats | OutliveError]],
    log_folder: Callable[[str], str],
    pid_here: Callable[[str], int | None],
) -> Iterator[Symptom]:
    """`silent`, on plain data, and on functions that return a node's log folder and the pid of its raylet."""
    for node, look in looks:
        if isinstance(look, OutliveError):
            pid = pid_here(node.node_id)
            yield Symptom(
                kind="silent-node",
                severity="wrong",
                what=f"node {node.node_id[:8]} ({node.ip}) does not answer: its raylet"
                + ("" if pid is None else f", pid {pid}"),
                why="Ray takes it for alive, so it sends tasks there and waits for its objects. There may be other "
                "faults, which cannot be seen now.",
                fix=f"on {node.name}: `ps -o pid,stat,args {'-C raylet' if pid is None else f'-p {pid}'}`; `kill -CONT` "
                f"it where it is in state T; the end of {log_folder(node.node_id)}/raylet.out",
                evidence=(Evidence(str(look), node=node.node_id, pid=pid),),
            )
        elif look.silent:
            yield Symptom(
                kind="silent-process",
                severity="wrong",
                what=f"node {node.node_id[:8]} ({node.ip}) has processes that do not answer: {len(look.silent)}",
                why="Their raylet waits for them whenever it is asked what its workers do, so that other tools see nothing "
                "of this node. Tasks that they are given do not run, and objects that they own are waited for.",
                fix=f"on {node.name}: `ps -o pid,stat,args -p {','.join(str(one.pid) for one in look.silent)}`; "
                f"`kill -CONT PID` where it is in state T; {log_folder(node.node_id)}/*-PID.*",
                evidence=tuple(
                    Evidence(f"{one.kind.lower()}, asked in vain", node=node.node_id, pid=one.pid)
                    for one in look.silent
                ),
            )


def of_kept(
    stats: NodeStats,
    actors: list[Actor],
    tasks: list[RunningTask],
    activity: Activity,
    *,
    long_task: float = LONG_TASK,
    own_job: str | None = None,
    scaled: bool = True,
) -> Iterator[Symptom]:
    """`kept`, on plain data, for one node.

    Parameters
    ----------
    long_task
        A task that has run for this many seconds keeps its node. With a shorter task the node simply works.
    scaled
        Whether an autoscaler would remove an idle node.
    """
    node, store, now = stats.node, stats.store, time.time()
    if store is None:
        return
    slow = [task for task in tasks if now - task.since >= long_task]
    slow_pids = {task.pid for task in slow}
    busy = [process for process in stats.processes if process.running and process.job != own_job]
    if any(process.pid not in slow_pids for process in busy):
        return
    evidence = [_of_task(task, now) for task in slow]
    evidence += [_of_actor(actor) for actor in actors]
    if store.objects:
        text = f"{count(store.objects, 'object')} in its object store ({format_size(store.used)})"
        numbers: dict[str, int | float | None] = {"objects": store.objects, "object_bytes": store.used}
        evidence.append(Evidence(text, node=node.node_id, numbers=numbers))
    if not evidence:
        return
    reasons = _reasons(len(slow), len(actors), store.objects)
    if activity.reasons:
        evidence.append(Evidence(f"Ray says: {' '.join(activity.reasons)}", node=node.node_id))
    severity: Severity = "risk" if activity.draining else "waste" if scaled else "info"
    draining = "is draining and" if activity.draining else "does no work and"
    yield Symptom(
        kind="kept-node",
        severity=severity,
        what=f"node {node.node_id[:8]} ({node.ip}) {draining} cannot be removed: {reasons}",
        why="Nothing moves objects or actors off a node that drains: at its deadline they are lost."
        if activity.draining
        else "An autoscaler removes a node only when every resource is free, no worker is leased and its store is empty: "
        f"no idle timeout {'reaches' if scaled else 'would reach'} this one."
        + ("" if scaled else " No autoscaler runs here, so that nothing is to be done."),
        fix=_fix(slow, actors, store.objects),
        evidence=tuple(evidence),
        source=_SOURCE,
        weight=store.used,
    )


def _reasons(tasks: int, actors: int, objects: int) -> str:
    parts = []
    if actors:
        parts.append(f"{count(actors, 'actor')}, however idle")
    if objects:
        parts.append(count(objects, "object"))
    if tasks:
        parts.append(f"{count(tasks, 'task')} that {'runs' if tasks == 1 else 'run'} on and on")
    return " and ".join(parts)


def _fix(tasks: list[RunningTask], actors: list[Actor], objects: int) -> str:
    parts = []
    if actors:
        first = actors[0]
        handle = f'ray.get_actor("{first.name}", namespace="{first.namespace}")' if first.name else "handle"
        parts.append(f"ray.kill({handle}) once it is not needed, or place actors on the head or on nodes that stay")
    if objects:
        parts.append("drop the references: `ray memory` lists who holds them")
    if tasks:
        parts.append("`ray list tasks --filter state=RUNNING`; ray.cancel(ref)")
    return "; ".join(parts)


def _of_task(task: RunningTask, now: float) -> Evidence:
    lasted = now - task.since
    return Evidence(
        f"its worker is leased to task {task.name}, for {format_duration(lasted)} now",
        node=task.node_id,
        pid=task.pid,
        numbers={"seconds": lasted},
    )


def _of_actor(actor: Actor) -> Evidence:
    name = f" named {actor.name!r}" if actor.name else ""
    needs = ", ".join(f"{amount:g} {resource}" for resource, amount in sorted(actor.resources.items()))
    detached = ", detached" if actor.detached else ""
    return Evidence(
        f"actor {actor.class_name.rpartition('.')[2]}{name}{detached}, job {actor.job}, asks for {needs or 'no resources'}",
        node=actor.node_id,
        pid=actor.pid,
    )
