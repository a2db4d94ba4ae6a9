"""Ray's records of a task, a worker, an actor or a node, and the present holders of an object.

The services are Ray's own, see `rpc`: `TaskInfo.GetTaskEvents`, `WorkerInfo.GetWorkerInfo`, `ActorInfo.GetActorInfo`,
`NodeInfo.GetAllNodeInfo` of the GCS and `NodeManager.GetNodeStats` of each raylet, with the fields that Ray 2.49 to
2.60 have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from outlive.ray_internals import node_workers, processes, rpc

PATIENCE = 3.0  # seconds for an answer


def task_events(task: str) -> list[Any]:
    """`TaskEvents` of each attempt of the task with this id that the GCS still remembers."""
    pb = rpc.messages("gcs_service")
    wanted = pb.GetTaskEventsRequest.Filters.TaskIdFilter(task_id=bytes.fromhex(task))
    request = pb.GetTaskEventsRequest(limit=100, filters=pb.GetTaskEventsRequest.Filters(task_filters=[wanted]))
    return list(rpc.gcs("TaskInfo").GetTaskEvents(request, timeout=PATIENCE).events_by_task)


def job_task_events(job: str, limit: int = 10_000) -> list[Any]:
    """`TaskEvents` of the tasks of the job with this id."""
    pb = rpc.messages("gcs_service")
    wanted = pb.GetTaskEventsRequest.Filters.JobIdFilter(job_id=bytes.fromhex(job))
    request = pb.GetTaskEventsRequest(limit=limit, filters=pb.GetTaskEventsRequest.Filters(job_filters=[wanted]))
    return list(rpc.gcs("TaskInfo").GetTaskEvents(request, timeout=PATIENCE).events_by_task)


def worker_record(worker: str) -> Any | None:
    """`WorkerTableData` of the worker with this id, dead or alive."""
    pb = rpc.messages("gcs_service")
    reply = rpc.gcs("WorkerInfo").GetWorkerInfo(
        pb.GetWorkerInfoRequest(worker_id=bytes.fromhex(worker)), timeout=PATIENCE
    )
    return reply.worker_table_data if reply.HasField("worker_table_data") else None


def actor_record(actor: str) -> Any | None:
    """`ActorTableData` of the actor with this id, dead or alive."""
    pb = rpc.messages("gcs_service")
    reply = rpc.gcs("ActorInfo").GetActorInfo(pb.GetActorInfoRequest(actor_id=bytes.fromhex(actor)), timeout=PATIENCE)
    return reply.actor_table_data if reply.HasField("actor_table_data") else None


def node_records() -> list[Any]:
    """`GcsNodeInfo` of each node, dead ones included."""
    pb = rpc.messages("gcs_service")
    return list(rpc.gcs("NodeInfo").GetAllNodeInfo(pb.GetAllNodeInfoRequest(), timeout=PATIENCE).node_info_list)


def references() -> Iterator[tuple[str, Any, Any]]:
    """(node id, `CoreWorkerStats`, `ObjectRefInfo`) of each reference held by a living process that answers."""
    for answer in processes.ask(node_workers.nodes(), references=True):
        for process in answer.processes:
            for reference in process.object_refs:
                yield answer.node.node_id, process, reference


def label(message: Any, field: str) -> str:
    """The name of the enum value of a message's field, such as `SYSTEM_ERROR`."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    value = kind.values_by_number.get(getattr(message, field))
    return "UNKNOWN" if value is None else str(value.name)
