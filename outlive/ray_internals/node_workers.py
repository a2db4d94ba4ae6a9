"""Facts of each worker process, from the raylets' `GetNodeStats` and the GCS's tables of workers, jobs and tasks."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlive.ray_internals import marks, rpc
from outlive.ray_internals.node_table import node_records

_NO_ID = b"\xff"
_TASK_ID = 24  # bytes, in src/ray/common/id.h
_NO_ACTOR = b"\xff" * 12


@dataclass(frozen=True)
class LiveNode:
    """A node that is alive."""

    node_id: str
    address: str
    """`host:port` of its raylet."""
    ip: str
    name: str
    head: bool = False
    cpus: float = 0.0
    """The number with which it was started."""


@dataclass(frozen=True)
class Registered:
    """A process that the GCS takes for alive: `WorkerTableData` of gcs.proto."""

    worker_id: str
    node_id: str
    address: str
    """`host:port` of its own gRPC server."""
    pid: int
    kind: str
    """`WORKER`, `DRIVER`, `SPILL_WORKER` or `RESTORE_WORKER`."""
    job: str | None
    """None: it has no job, or its version of Ray does not tell."""
    since: float
    """Unix time at which it registered."""


@dataclass
class TaskHistory:
    """The history of one worker in the GCS's task events. Empty if they are off: `task_events_report_interval_ms` 0."""

    last_end: float | None = None
    """Unix time at which its last task ended."""
    last_function: str | None = None
    """The function of that task."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often it ran the function (job, name) to its end."""
    runtime_env: bytes | None = None
    """`RuntimeEnvInfo` of its tasks, serialized."""
    gpu: bool = False
    """Whether its tasks asked for a GPU. Then the raylet gives it no others."""
    leaving: str | None = None
    """The worker's own note why it takes no more tasks."""
    actor: str | None = None
    """The actor from whose calls its last task descended. None: there is none, or it is not known any more."""


@dataclass(frozen=True)
class Job:
    """A job of the GCS's job table."""

    job_id: str
    dead: bool
    driver_pid: int
    entrypoint: str
    record: Any = field(compare=False)
    """`JobTableData` of gcs.proto."""


def id_or_none(raw: bytes) -> str | None:
    """An id, or None if all its bits are ones: Ray writes "none" like that."""
    return raw.hex() if raw.strip(_NO_ID) else None


def nodes() -> list[LiveNode]:
    """The nodes that are alive. The GCS is not asked for dead ones: it remembers 1,000 of them."""
    alive = rpc.messages("gcs").GcsNodeInfo.GcsNodeState.ALIVE
    return [
        LiveNode(
            node_id=node.node_id.hex(),
            address=f"{node.node_manager_address}:{node.node_manager_port}",
            ip=node.node_manager_address,
            name=node.node_manager_hostname,
            head=node.is_head_node,
            cpus=node.resources_total.get("CPU", 0.0),
        )
        for node in _node_table(alive)
        if node.state == alive
    ]


def _node_table(state: int) -> list[Any]:
    # this call alone is made without grpcio: doctor then names the missing package
    if importlib.util.find_spec("grpc") is None:
        return node_records()
    request = rpc.messages("gcs_service").GetAllNodeInfoRequest()
    if "state_filter" in request.DESCRIPTOR.fields_by_name:
        request.state_filter = state
    with rpc.explained("the GCS"):
        reply = rpc.gcs("NodeInfo").GetAllNodeInfo(request, timeout=rpc.GCS_PATIENCE)
    return list(reply.node_info_list)


def registered() -> list[Registered]:
    """Every process that the GCS takes for alive, drivers too. It is not asked for dead ones."""
    kinds = rpc.messages("common").WorkerType
    return [
        Registered(
            worker_id=worker.worker_address.worker_id.hex(),
            node_id=_node_of(worker.worker_address),
            address=f"{worker.worker_address.ip_address}:{worker.worker_address.port}",
            pid=worker.pid,
            kind=kinds.Name(worker.worker_type),
            job=id_or_none(getattr(worker, "job_id", b"")),
            since=worker.start_time_ms / 1000,
        )
        for worker in _worker_table(living=True)
    ]


def _node_of(address: Any) -> str:
    raw: bytes = getattr(address, "node_id", b"") or getattr(address, "raylet_id", b"")  # its name in earlier versions
    return raw.hex()


def start_times() -> dict[str, tuple[float, float | None]]:
    """For each worker id: Unix time at which it registered, and how many seconds it took to start, if known.

    It also has dead workers that the GCS remembers.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for worker in _worker_table(living=False):
        begun, done = worker.worker_launch_time_ms, worker.start_time_ms
        took = (done - begun) / 1000 if 0 < begun <= done else None
        found[worker.worker_address.worker_id.hex()] = (done / 1000, took)
    return found


def _worker_table(*, living: bool) -> list[Any]:
    request = rpc.messages("gcs_service").GetAllWorkerInfoRequest()
    if living and "filters" in request.DESCRIPTOR.fields_by_name:
        request.filters.is_alive = True
    with rpc.explained("the GCS"):
        reply = rpc.gcs("WorkerInfo").GetAllWorkerInfo(request, timeout=rpc.GCS_PATIENCE)
    return [worker for worker in reply.worker_table_data if worker.is_alive or not living]


_NOT_ASKED = {"skip_submission_job_info_field", "skip_is_running_tasks_field"}
"""Facts that the GCS would have to ask others for: a key for each job, and each job's driver, which may be stopped."""


def jobs() -> list[Job]:
    """Every job of the cluster, also the ended ones."""
    request = rpc.messages("gcs_service").GetAllJobInfoRequest()
    for name in _NOT_ASKED & {*request.DESCRIPTOR.fields_by_name}:
        setattr(request, name, True)
    with rpc.explained("the GCS"):
        reply = rpc.gcs("JobInfo").GetAllJobInfo(request, timeout=rpc.GCS_PATIENCE)
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
_PATIENCE = 60.0  # seconds for all of 100,000 tasks


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
        return (
            rpc.gcs("TaskInfo").GetTaskEvents(request, timeout=rpc.GCS_PATIENCE if limit else _PATIENCE).events_by_task
        )


def task_events_dropped() -> int:
    """The number of attempts of tasks whose events the GCS has dropped since it started: it keeps a limited number."""
    gcs_service_pb2 = rpc.messages("gcs_service")

    with rpc.explained("the GCS"):
        reply = rpc.gcs("TaskInfo").GetTaskEvents(gcs_service_pb2.GetTaskEventsRequest(limit=1), timeout=_PATIENCE)
    return int(reply.num_status_task_events_dropped)


def task_histories() -> dict[str, TaskHistory]:
    """By worker id: the tasks that each worker ran, if they are among the latest 10,000 tasks of the cluster.

    It is up to a second behind (`task_events_report_interval_ms`).
    """
    common_pb2 = rpc.messages("common")

    finished, failed = common_pb2.TaskStatus.Value("FINISHED"), common_pb2.TaskStatus.Value("FAILED")
    found: dict[str, TaskHistory] = {}
    events = task_events(_RECENT)
    parents = {event.task_id: event.task_info.parent_task_id for event in events}
    for event in events:
        updates = event.state_updates
        if not updates.worker_id:
            continue
        history = found.setdefault(updates.worker_id.hex(), TaskHistory())
        history.leaving = history.leaving or marks.leaving(event)
        times = updates.state_ts_ns
        ended = [times[state] for state in (finished, failed) if state in times]
        if ended:
            if max(ended) / 1e9 >= (history.last_end or 0.0):
                history.last_end, history.last_function = max(ended) / 1e9, event.task_info.func_or_class_name
                history.actor = _origin(event.task_info.parent_task_id, parents)
            history.calls[event.job_id.hex(), event.task_info.func_or_class_name] += 1
        if event.task_info.type == common_pb2.TaskType.NORMAL_TASK:
            history.runtime_env = event.task_info.runtime_env_info.SerializeToString(deterministic=True)
            history.gpu = history.gpu or event.task_info.required_resources.get("GPU", 0) > 0
    return found


def _origin(task_id: bytes, parents: Mapping[bytes, bytes]) -> str | None:
    """The actor that began this chain of tasks. A TaskID ends with 12 bytes of the actor's id and 4 of the job's."""
    while len(task_id) == _TASK_ID:
        if task_id[8:20] != _NO_ACTOR:
            return task_id[8:].hex()
        task_id = parents.get(task_id, b"")
    return None


def available_cpus() -> dict[str, int]:
    """CPUs that no task holds, rounded down, by node id: how many idle workers the reaper keeps by default."""
    pb = rpc.messages("gcs_service")
    with rpc.explained("the GCS"):
        reply = rpc.gcs("NodeResourceInfo").GetAllAvailableResources(
            pb.GetAllAvailableResourcesRequest(), timeout=rpc.GCS_PATIENCE
        )
    return {one.node_id.hex(): int(one.resources_available.get("CPU", 0)) for one in reply.resources_list}
