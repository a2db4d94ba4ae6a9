"""What raylets and the GCS know of each worker process: `GetNodeStats`, the worker, job and task tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import ray

from outlive.ray_internals import marks, rpc

_NO_ID = "f"


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    node_id: str
    address: str
    """`host:port` of its raylet."""
    ip: str
    name: str


@dataclass(frozen=True)
class WorkerStats:
    """One entry of `NodeManagerService.GetNodeStats`: `CoreWorkerStats` in common.proto."""

    worker_id: str
    pid: int
    kind: str
    """`WORKER`, `DRIVER`, `SPILL_WORKER` or `RESTORE_WORKER`."""
    job: str | None
    actor: str | None
    running: int
    pending: int
    """Tasks that it submitted and that have not ended."""
    owned: int
    in_scope: int
    """Objects that it owns or borrows, actor handles too."""
    executed: int
    address: str


@dataclass
class TaskHistory:
    """What the GCS's task events tell of one worker. Empty if there are none: `task_events_report_interval_ms` 0."""

    last_end: float | None = None
    """Unix time at which its last task ended."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often it ran the function (job, name) to its end."""
    runtime_env: bytes | None = None
    """`RuntimeEnvInfo` of its tasks, serialized."""
    gpu: bool = False
    """Its tasks asked for a GPU: then the raylet gives it no others."""
    leaving: str | None = None
    """Why it takes no more tasks, as it noted itself."""


@dataclass(frozen=True)
class Job:
    """A job of the GCS's job table."""

    job_id: str
    dead: bool
    driver_pid: int
    entrypoint: str
    record: Any = field(compare=False)
    """`JobTableData` of gcs.proto."""


def _hex(raw: bytes) -> str | None:
    """An id, or None where Ray writes "none" as all ones."""
    text = raw.hex()
    return None if not text.strip(_NO_ID) else text


def nodes() -> list[Node]:
    """The nodes that are alive."""
    return [
        Node(
            node_id=node["NodeID"],
            address=f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}",
            ip=node["NodeManagerAddress"],
            name=node["NodeManagerHostname"],
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def workers_of(node: Node) -> list[WorkerStats]:
    """Every worker process of the node that its raylet knows, drivers too.

    Raises
    ------
    StoreUnavailable
        The raylet does not answer.
    """
    common_pb2 = rpc.messages("common")
    node_manager_pb2 = rpc.messages("node_manager")

    request = node_manager_pb2.GetNodeStatsRequest(include_memory_info=True)
    with rpc.explained(f"the raylet of node {node.node_id[:8]} ({node.address})"):
        reply = rpc.raylet(node.address).GetNodeStats(request, timeout=rpc.PATIENCE)
    return [
        WorkerStats(
            worker_id=stats.worker_id.hex(),
            pid=stats.pid,
            kind=common_pb2.WorkerType.Name(stats.worker_type),
            job=_hex(stats.job_id),
            actor=_hex(stats.actor_id),
            running=stats.num_running_tasks,
            pending=stats.num_pending_tasks,
            owned=stats.num_owned_objects,
            in_scope=stats.num_object_refs_in_scope,
            executed=stats.num_executed_tasks,
            address=f"{stats.ip_address}:{stats.port}",
        )
        for stats in reply.core_workers_stats
    ]


def start_times() -> dict[str, tuple[float, float | None]]:
    """For each worker id: Unix time at which it registered, and how many seconds it took to start, if known."""
    gcs_service_pb2 = rpc.messages("gcs_service")

    with rpc.explained("the GCS"):
        reply = rpc.gcs("WorkerInfo").GetAllWorkerInfo(gcs_service_pb2.GetAllWorkerInfoRequest(), timeout=rpc.PATIENCE)
    found: dict[str, tuple[float, float | None]] = {}
    for worker in reply.worker_table_data:
        begun, done = worker.worker_launch_time_ms, worker.start_time_ms
        took = (done - begun) / 1000 if 0 < begun <= done else None
        found[worker.worker_address.worker_id.hex()] = (done / 1000, took)
    return found


def jobs() -> list[Job]:
    """Every job of the cluster, those that ended too."""
    gcs_service_pb2 = rpc.messages("gcs_service")

    with rpc.explained("the GCS"):
        reply = rpc.gcs("JobInfo").GetAllJobInfo(gcs_service_pb2.GetAllJobInfoRequest(), timeout=rpc.PATIENCE)
    return [
        Job(
            job_id=job.job_id.hex(),
            dead=job.is_dead,
            driver_pid=job.driver_pid,
            entrypoint=job.entrypoint,
            record=job,
        )
        for job in reply.job_info_list
    ]


_RECENT = 10_000  # tasks: some 10 MB, and some 100 ms of the GCS


def task_events(limit: int | None = None) -> Any:
    """`TaskEvents` of the tasks that the GCS still remembers (the last 100,000 by default), the latest `limit` of them.

    Drivers are left out.
    """
    gcs_service_pb2 = rpc.messages("gcs_service")

    request = gcs_service_pb2.GetTaskEventsRequest()
    request.filters.exclude_driver = True
    if limit is not None:
        request.limit = limit
    with rpc.explained("the GCS"):
        return rpc.gcs("TaskInfo").GetTaskEvents(request, timeout=60).events_by_task


def task_events_dropped() -> int:
    """Of how many attempts of tasks the GCS has dropped what it knew, since it started: it keeps a limited number."""
    gcs_service_pb2 = rpc.messages("gcs_service")

    with rpc.explained("the GCS"):
        reply = rpc.gcs("TaskInfo").GetTaskEvents(gcs_service_pb2.GetTaskEventsRequest(limit=1), timeout=60)
    return int(reply.num_status_task_events_dropped)


def task_histories() -> dict[str, TaskHistory]:
    """What each worker ran, by worker id, as far as it is among the latest 10,000 tasks of the cluster.

    Up to a second (`task_events_report_interval_ms`) behind.
    """
    common_pb2 = rpc.messages("common")

    finished, failed = common_pb2.TaskStatus.Value("FINISHED"), common_pb2.TaskStatus.Value("FAILED")
    found: dict[str, TaskHistory] = {}
    for event in task_events(_RECENT):
        updates = event.state_updates
        if not updates.worker_id:
            continue
        history = found.setdefault(updates.worker_id.hex(), TaskHistory())
        history.leaving = history.leaving or marks.leaving(event)
        times = updates.state_ts_ns
        ended = [times[state] for state in (finished, failed) if state in times]
        if ended:
            history.last_end = max(history.last_end or 0.0, max(ended) / 1e9)
            history.calls[event.job_id.hex(), event.task_info.func_or_class_name] += 1
        if event.task_info.type == common_pb2.TaskType.NORMAL_TASK:
            history.runtime_env = event.task_info.runtime_env_info.SerializeToString(deterministic=True)
            history.gpu = history.gpu or event.task_info.required_resources.get("GPU", 0) > 0
    return found


def available_cpus() -> dict[str, int]:
    """CPUs that no task holds, rounded down, by node id: how many idle workers the reaper keeps by default."""
    from ray._private.state import available_resources_per_node

    free: dict[str, dict[str, float]] = available_resources_per_node()  # type: ignore[no-untyped-call]
    return {node_id: int(resources.get("CPU", 0)) for node_id, resources in free.items()}


@dataclass(frozen=True)
class StoreUse:
    """What the object store of a node holds."""

    objects: int
    bytes: int
    running: int
    """Tasks that run on the node."""
    head: bool


def object_store_use() -> list[tuple[Node, StoreUse]]:
    """What each node's object store holds (`ObjectStoreStats` of `GetNodeStats`)."""
    found = []
    node_manager_pb2 = rpc.messages("node_manager")
    heads = {
        node["NodeID"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if "node:__internal_head__" in node["Resources"]
    }
    for node in nodes():
        with rpc.explained(f"the raylet of node {node.node_id[:8]} ({node.address})"):
            reply = rpc.raylet(node.address).GetNodeStats(
                node_manager_pb2.GetNodeStatsRequest(include_memory_info=False), timeout=rpc.PATIENCE
            )
        store = reply.store_stats
        running = sum(stats.num_running_tasks for stats in reply.core_workers_stats)
        use = StoreUse(store.num_local_objects, store.object_store_bytes_used, running, node.node_id in heads)
        found.append((node, use))
    return found


def total_cpus() -> dict[str, float]:
    """CPUs of each node, by node id."""
    return {
        node["NodeID"]: float(node["Resources"].get("CPU", 0))
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }
