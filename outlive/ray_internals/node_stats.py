"""The present state of each node: the references of every process, object store, actors, and why it counts as busy.

`NodeManager.GetNodeStats` of each raylet, `ActorInfo.GetAllActorInfo` and `AutoscalerState.GetClusterResourceState` of
the GCS, with the fields that Ray 2.49 to 2.60 have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from outlive.errors import StoreUnavailable
from outlive.ray_internals import node_workers, processes, rpc
from outlive.ray_internals.node_workers import LiveNode
from outlive.ray_internals.processes import Answer, Silent

_ACTOR_HANDLE = "ff" * 8  # the unique part of an actor's creation task, TaskID::ForActorCreationTask in id.cc


@dataclass(frozen=True)
class Reference:
    """One `ObjectRefInfo` of common.proto: a reference that a process counts."""

    object_id: str
    size: int | None
    """Bytes, if the process knows them."""
    owned: bool
    """Whether the process that counts it owns it: `ReferenceCounter::AddObjectRefStats` gives a task status only to
    these.
    """
    in_use: bool
    """Whether Python or a task uses it. Otherwise only its value is still mapped."""
    call_site: str
    """Empty unless `RAY_record_ref_creation_sites` is 1."""

    @property
    def actor_handle(self) -> bool:
        """Whether it stands for an actor and not for an object."""
        return self.object_id.startswith(_ACTOR_HANDLE)


@dataclass(frozen=True)
class Process:
    """A worker or driver that answered."""

    node_id: str
    worker_id: str
    pid: int
    kind: str
    """`WORKER`, `DRIVER`, `SPILL_WORKER` or `RESTORE_WORKER`."""
    job: str | None
    actor: str | None
    running: int
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class ObjectStore:
    """`ObjectStoreStats` of node_manager.proto, in bytes."""

    used: int
    capacity: int
    """The size of the store. Ray's field is called `object_store_bytes_avail`."""
    objects: int
    fallback: int
    """Bytes in files on disk, because the store was full of objects in use."""
    spilled: int
    """Since the start."""
    restored: int
    """Since the start."""


@dataclass(frozen=True)
class NodeStats:
    """A node at one moment."""

    node: LiveNode
    processes: tuple[Process, ...]
    store: ObjectStore | None
    """None: only the raylet knows, and it waits for a silent process."""
    complete: bool
    """Whether every process answered."""
    silent: tuple[Silent, ...] = ()
    """The processes that did not answer."""


@dataclass(frozen=True)
class Actor:
    """An actor that is alive."""

    actor_id: str
    name: str
    namespace: str
    class_name: str
    detached: bool
    node_id: str
    pid: int
    job: str
    resources: dict[str, float]


@dataclass(frozen=True)
class Activity:
    """The state of a node as the autoscaler sees it."""

    draining: bool
    reasons: tuple[str, ...]
    """The reasons why it is busy, in Ray's words."""


@dataclass(frozen=True)
class RunningTask:
    """A task that runs now."""

    name: str
    node_id: str
    pid: int
    since: float
    """Unix time."""


def look(node: LiveNode) -> NodeStats:
    """Ask each process of the node, with its references.

    Raises
    ------
    StoreUnavailable
        The raylet does not answer, or the GCS.
    """
    return _stats(processes.ask_one(node, references=True))


def look_at_all(nodes: Sequence[LiveNode]) -> list[NodeStats | StoreUnavailable]:
    """`look` at all of these nodes at the same time. For a node that does not answer, the error.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    answers = processes.ask(nodes, references=True)
    return [_stats(answer) if answer.error is None else StoreUnavailable(answer.error) for answer in answers]


def _stats(answer: Answer) -> NodeStats:
    common, store = rpc.messages("common"), answer.store
    return NodeStats(
        answer.node,
        tuple(_process(answer.node, one, common.WorkerType.Name(one.worker_type)) for one in answer.processes),
        None
        if store is None
        else ObjectStore(
            used=store.object_store_bytes_used,
            capacity=store.object_store_bytes_avail,
            objects=store.num_local_objects,
            fallback=store.object_store_bytes_fallback,
            spilled=store.spilled_bytes_total,
            restored=store.restored_bytes_total,
        ),
        complete=answer.complete,
        silent=answer.silent,
    )


def _process(node: LiveNode, stats: Any, kind: str) -> Process:
    references = tuple(
        Reference(
            object_id=one.object_id.hex(),
            size=one.object_size if one.object_size >= 0 else None,
            owned=one.task_status != 0,
            in_use=bool(one.local_ref_count or one.submitted_task_ref_count),
            call_site="" if one.call_site == "disabled" else " ".join(one.call_site.split()),
        )
        for one in stats.object_refs
    )
    return Process(
        node_id=node.node_id,
        worker_id=stats.worker_id.hex(),
        pid=stats.pid,
        kind=kind,
        job=node_workers.id_or_none(stats.job_id),
        actor=node_workers.id_or_none(stats.actor_id),
        running=stats.num_running_tasks,
        references=references,
    )


def head() -> str | None:
    """The head's id."""
    return next((node.node_id for node in node_workers.nodes() if node.head), None)


def actors() -> list[Actor]:
    """Every actor that is alive."""
    pb, gcs = rpc.messages("gcs_service"), rpc.messages("gcs")
    with rpc.explained("the GCS"):
        reply = rpc.gcs("ActorInfo").GetAllActorInfo(pb.GetAllActorInfoRequest(), timeout=rpc.PATIENCE)
    return [
        Actor(
            actor_id=one.actor_id.hex(),
            name=one.name,
            namespace=one.ray_namespace,
            class_name=one.class_name,
            detached=one.is_detached,
            node_id=one.node_id.hex(),
            pid=one.pid,
            job=one.job_id.hex(),
            resources=dict(one.required_resources),
        )
        for one in reply.actor_table_data
        if one.state == gcs.ActorTableData.ActorState.ALIVE
    ]


def activities() -> dict[str, Activity]:
    """By node id: the node's state as the autoscaler sees it."""
    pb = rpc.messages("autoscaler")
    with rpc.explained("the GCS"):
        reply = rpc.autoscaler().GetClusterResourceState(pb.GetClusterResourceStateRequest(), timeout=rpc.PATIENCE)
    return {
        state.node_id.hex(): Activity(state.status == pb.NodeStatus.Value("DRAINING"), tuple(state.node_activity))
        for state in reply.cluster_resource_state.node_states
    }


def running_tasks() -> list[RunningTask]:
    """Normal tasks that run now, among the latest 10,000 of the cluster."""
    common = rpc.messages("common")
    status = common.TaskStatus.Value
    found = []
    for event in node_workers.task_events(10_000):
        updates, task = event.state_updates, event.task_info
        times = updates.state_ts_ns
        if task.type != common.TaskType.NORMAL_TASK or status("FINISHED") in times or status("FAILED") in times:
            continue
        if begun := times.get(status("RUNNING"), 0):
            name = task.name or task.func_or_class_name
            found.append(RunningTask(name, updates.node_id.hex(), updates.worker_pid, begun / 1e9))
    return found
