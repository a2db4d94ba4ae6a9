"""Facts that a running cluster still has about an id, as sentences. Needs a connection (`ray.init`) and grpcio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from outlive.errors import StoreUnavailable
from outlive.explain.ids import DecodedId

MISSING_GRPC = "To ask the cluster, grpcio is needed: pip install outlive."


def facts(decoded: DecodedId) -> tuple[str, ...]:
    """All that the cluster of this process still knows about an id.

    Returns
    -------
    tuple of str
        One sentence for each fact. If the cluster knows nothing or does not answer, a sentence says so.
    """
    ask = _QUESTIONS.get(decoded.kind)
    if ask is None:
        return ()
    try:
        import grpc
    except ModuleNotFoundError:
        return (MISSING_GRPC,)
    try:
        return tuple(ask(decoded))
    except (grpc.RpcError, StoreUnavailable, ConnectionError) as error:
        code: Any = getattr(error, "code", lambda: None)()
        return (f"The cluster did not answer ({getattr(code, 'name', type(error).__name__)}).",)


def holders(object_id: str) -> list[str]:
    """The processes of this cluster that hold a reference to the object now, one sentence each.

    Parameters
    ----------
    object_id
        The ObjectID as hex digits.
    """
    from outlive.ray_internals import records

    found = []
    for node, process, reference in records.references():
        if reference.object_id.hex() != object_id:
            continue
        what = "driver" if records.label(process, "worker_type") == "DRIVER" else "worker"
        counts = f"{reference.local_ref_count} in Python, {reference.submitted_task_ref_count} for tasks"
        pinned = ", has its value mapped" if reference.pinned_in_memory else ""
        site = f", at {' '.join(reference.call_site.split())}" if _real(reference.call_site) else ""
        found.append(f"Held by {what} {process.pid} on node {node[:12]} ({counts}{pinned}{site}).")
    return found


def owner(worker_id: str) -> list[str]:
    """The state of a worker, as sentences: its process, whether it lives, and how it ended."""
    from outlive.ray_internals import records

    record = records.worker_record(worker_id)
    if record is None:
        return []
    where = f"pid {record.pid} on {record.worker_address.ip_address}"
    kind = records.label(record, "worker_type").lower()
    if record.is_alive:
        return [f"The {kind} ({where}) is alive."]
    detail = record.exit_detail or "no detail"
    return [f"The {kind} ({where}) is dead: {records.label(record, 'exit_type')}, {detail}"]


def _object_facts(decoded: DecodedId) -> Iterator[str]:
    held = holders(decoded.hex)
    yield from held
    if not held:
        yield "No living process holds a reference to it now."
    yield from _task_facts(decoded)
    if decoded.actor is not None:
        yield from _actor_facts(decoded)


def _task_facts(decoded: DecodedId) -> Iterator[str]:
    from outlive.ray_internals import records

    if decoded.task is not None:
        events = records.task_events(decoded.task)
    elif decoded.put and decoded.maker in {"normal task", "actor task"}:
        # The id of a put has the id of its task, except for the first byte, which has the attempt.
        job = decoded.hex[40:48]
        events = [one for one in records.job_task_events(job) if one.task_id.hex()[2:] == decoded.hex[2:48]]
    else:
        return
    if not events:
        yield "The cluster does not know its task any more; RAY_task_events_max_num_task_in_gcs (100,000) limits it."
    wanted = decoded.attempt
    for one in events:
        if wanted is None or one.attempt_number == wanted:
            yield _about_task(one)
            worker = one.state_updates.worker_id.hex()
            if worker:
                yield from owner(worker)


def _about_task(event: Any) -> str:
    from outlive.ray_internals import rpc

    info, updates = event.task_info, event.state_updates
    states = rpc.messages("common").TaskStatus
    reached = max(updates.state_ts_ns, default=0)
    state = states.Name(reached) if updates.state_ts_ns else "unknown state"
    name = info.name or info.func_or_class_name or "a task"
    where = f", pid {updates.worker_pid} on node {updates.node_id.hex()[:12]}" if updates.worker_pid else ""
    error = (
        f": {updates.error_info.error_message.strip().splitlines()[0]}"
        if updates.error_info.error_message.strip()
        else ""
    )
    site = f", called at {' '.join(info.call_site.split())}" if _real(info.call_site) else ""
    return f"Task {name}, attempt {event.attempt_number}: {state}{where}{site}{error}"


def _actor_facts(decoded: DecodedId) -> Iterator[str]:
    from outlive.ray_internals import records

    record = records.actor_record(decoded.actor or "")
    if record is None:
        yield "The cluster does not know its actor (any more)."
        return
    name = f" named {record.name!r} in namespace {record.ray_namespace!r}" if record.name else ""
    detached = ", detached" if record.is_detached else ""
    yield (
        f"Actor {record.class_name}{name}{detached}: {records.label(record, 'state')}, pid {record.pid}, restarted "
        f"{record.num_restarts} of {record.max_restarts if record.max_restarts >= 0 else 'any number of'} times."
    )
    death = record.death_cause.actor_died_error_context.error_message
    if death:
        yield f"Why it died: {death.strip()}"


def _worker_facts(decoded: DecodedId) -> Iterator[str]:
    from outlive.ray_internals import records

    found = owner(decoded.hex)
    yield from found
    for node in records.node_records():
        if node.node_id.hex() == decoded.hex:
            state = records.label(node, "state").lower()
            reason = node.death_info.reason_message
            yield f"A node, {state}: {node.node_manager_hostname} at {node.node_manager_address}." + (
                f" {reason}" if reason else ""
            )
            return
    if not found:
        yield "The cluster knows no worker and no node of this id."


def _real(call_site: str) -> bool:
    """Whether Ray recorded a call site. It writes `disabled` if it records none."""
    return bool(call_site.strip()) and call_site.strip() != "disabled"


_QUESTIONS: dict[str, Callable[[DecodedId], Iterator[str]]] = {
    "ObjectID": _object_facts,
    "TaskID": _task_facts,
    "ActorID": _actor_facts,
    "WorkerID": _worker_facts,
    "WorkerID or NodeID": _worker_facts,
}
