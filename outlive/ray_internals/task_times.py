"""Times of tasks and actors, from the GCS's `TaskEvents`, `ActorTableData` and `JobTableData` (2.49 to 2.60)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outlive.ray_internals import rpc


@dataclass(frozen=True)
class TaskTimes:
    """The time and node of a task, or of one that made an actor. Unix times."""

    node: str
    job: str
    environment: str
    cpus: float
    """The resources that it held while it ran. For an actor: while it lives."""
    ready: float
    start: float
    end: float | None
    """None: it still runs."""
    id: str
    parent: str
    function: str
    actor: str | None
    """The id of the actor that it made."""


def task_times(event: Any) -> TaskTimes | None:
    """The times in a `TaskEvents`, for a task that got a worker. None for other tasks, and for calls of actors."""
    common_pb2 = rpc.messages("common")
    status, kinds = common_pb2.TaskStatus.Value, common_pb2.TaskType
    times, task = event.state_updates.state_ts_ns, event.task_info
    end = times.get(status("FINISHED"), 0) or times.get(status("FAILED"), 0)
    ready, start = times.get(status("PENDING_NODE_ASSIGNMENT"), 0), times.get(status("RUNNING"), 0)
    if task.type not in {kinds.NORMAL_TASK, kinds.ACTOR_CREATION_TASK} or not start:
        return None
    environment: str = task.runtime_env_info.serialized_runtime_env
    return TaskTimes(
        node=event.state_updates.node_id.hex(),
        job=event.job_id.hex(),
        environment="" if environment == "{}" else environment,
        cpus=task.required_resources.get("CPU", 0.0),
        ready=(ready or start) / 1e9,
        start=start / 1e9,
        end=end / 1e9 if end else None,
        id=event.task_id.hex(),
        parent=task.parent_task_id.hex(),
        function=task.func_or_class_name,
        actor=task.actor_id.hex() if task.type == kinds.ACTOR_CREATION_TASK else None,
    )


@dataclass(frozen=True)
class ActorLife:
    """The node of an actor, which the event of the task that made it does not tell."""

    node: str
    end: float | None
    """Unix time at which it died; None while it lives."""


def actor_lives() -> dict[str, ActorLife]:
    """Every actor that was made, by its id."""
    pb, gcs = rpc.messages("gcs_service"), rpc.messages("gcs")
    with rpc.explained("the GCS"):
        reply = rpc.gcs("ActorInfo").GetAllActorInfo(pb.GetAllActorInfoRequest(), timeout=rpc.PATIENCE)
    dead = gcs.ActorTableData.ActorState.DEAD
    return {
        one.actor_id.hex(): ActorLife(
            (one.node_id or one.address.node_id).hex(), one.end_time / 1000 if one.state == dead else None
        )
        for one in reply.actor_table_data
    }


def job_ends() -> dict[str, float]:
    """By id: when each ended job ended (Unix time)."""
    pb = rpc.messages("gcs_service")
    with rpc.explained("the GCS"):
        reply = rpc.gcs("JobInfo").GetAllJobInfo(pb.GetAllJobInfoRequest(), timeout=rpc.PATIENCE)
    return {job.job_id.hex(): job.end_time / 1000 for job in reply.job_info_list if job.is_dead}
