"""The table of the cluster's nodes in the GCS, and what keeps each node from being idle.

Most calls go to the GCS through the client that every Ray process has (`GcsClient` of `ray._raylet`), so they work in
actors and drivers and without grpcio. Each raylet decides whether the autoscaler takes its node for idle:
`LocalResourceManager::GetResourceIdleTime` in src/ray/raylet/scheduling/local_resource_manager.cc.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import ray._private.state as _state
import ray._private.worker as _worker
from ray.exceptions import RayError

from outlive.errors import StoreUnavailable
from outlive.node import Node
from outlive.ray_internals import rpc
from outlive.units import count

PATIENCE = 10.0  # seconds for an answer
NAMESPACE = "outlive"
_HEAD = "node:__internal_head__"  # HEAD_NODE_RESOURCE_NAME, which `ray start --head` gives its node
_NOBODY = "f"  # an actor id of only these digits means no actor, `BaseID::Nil` in id.h
_LEASED = "Busy workers on node."
_IN_USE = "Resource: {} currently in use."


def nodes() -> list[Node]:
    """All nodes that the GCS knows, dead ones too. Two calls of the GCS, about a millisecond.

    Sources: `GcsNodeInfo` of gcs.proto, whose `end_time_ms` and `death_info` are set as gcs_node_manager.cc takes a
    node for dead; `GlobalState.get_draining_nodes` of ray/_private/state.py, where a deadline of 0 ms means none.

    Raises
    ------
    StoreUnavailable
        This process is not connected, or the GCS does not answer.
    """
    return _nodes(node_records())


def node(node_id: str) -> Node | None:
    """One node; None if the GCS does not know it. It raises the errors of `nodes`. See `can_ask_for_one`."""
    selector = rpc.messages("gcs_service").GetAllNodeInfoRequest.NodeSelector(node_id=bytes.fromhex(node_id))
    with explained():
        found = gcs_client().get_all_node_info(timeout=PATIENCE, node_selectors=[selector])
    return next(iter(_nodes(found.values())), None)


@lru_cache(maxsize=1)
def can_ask_for_one() -> bool:
    """Whether this Ray's GCS can be asked for one node: 2.60 has `node_selectors`, 2.49 sends all nodes each time."""
    return "node_selectors" in (gcs_client().get_all_node_info.__doc__ or "")


def _nodes(records: Iterable[Any]) -> list[Node]:
    with explained():
        draining: Mapping[str, int] = _accessor().get_draining_nodes()
    alive = rpc.messages("gcs").GcsNodeInfo.GcsNodeState.ALIVE
    return [_node(record, record.state == alive, draining) for record in records]


def _node(record: Any, alive: bool, draining: Mapping[str, int]) -> Node:
    node_id = record.node_id.hex()
    deadline = draining.get(node_id) if alive else None
    return Node(
        id=node_id,
        ip=record.node_manager_address,
        host=record.node_manager_hostname,
        is_head=is_head(record),
        alive=alive,
        died_at=record.end_time_ms / 1000 if not alive and record.end_time_ms else None,
        death_reason=None if alive else _why_it_died(record.death_info),
        draining_until=None if deadline is None else deadline / 1000 if deadline else math.inf,
        object_store_memory=int(record.resources_total.get("object_store_memory", 0)),
        node_type=record.node_type_name or None,
        occupied=alive and bool(set(_active(record.state_snapshot)) - {_LEASED}),
        port=int(record.node_manager_port),
    )


def is_head(record: Any) -> bool:
    """Whether a node, as `GcsNodeInfo`, is the cluster's head."""
    return bool(record.is_head_node or _HEAD in record.resources_total)


def _active(snapshot: Any) -> list[str]:
    """The reasons why a node is not idle, in the raylet's words. They are stale unless its state is `ACTIVE`."""
    is_active = snapshot.state == rpc.messages("gcs").NodeSnapshot.State.Value("ACTIVE")
    return list(snapshot.node_activity) if is_active else []


def _why_it_died(info: Any) -> str | None:
    """`NodeDeathInfo` of common.proto."""
    kind = info.DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number.get(info.reason)
    words = "" if kind is None or info.reason == 0 else kind.name.lower().replace("_", " ")
    return ": ".join(part for part in (words, info.reason_message.strip()) if part) or None


def busy(node_id: str, apart_from: set[str]) -> list[str]:
    """The reasons why this node is not idle, without actors of these names in the namespace `outlive`. Empty: it is
    idle.

    Three calls of the GCS and one of the node's raylet, which asks each of its workers: about 2.5 ms.

    - The state that the raylet itself reports: `NodeSnapshot` in `GcsNodeInfo`, which reaches the GCS within 100 ms
      (`raylet_report_resources_period_milliseconds`). Its activities are stale unless its state is `ACTIVE`
      (`GcsNodeManager::UpdateAliveNode`). How much of a resource is in use comes from `GetClusterResourceState`,
      up to a second later (`gcs_pull_resource_loads_period_milliseconds`), and so do placement groups.
    - Objects whose primary copy is there are `object_store_memory` in use, and 1 byte if all are spilled
      (get_used_object_store_memory in raylet main.cc). Cached copies of objects that live elsewhere hold no node
      (`scheduler_report_pinned_bytes_only`).
    - Actors that live there, `num_cpus=0` too: each holds the lease of its worker for life.
    - Workers that run a task now, `num_cpus=0` too, or are blocked in one: `num_running_tasks` of `CoreWorkerStats`
      in `NodeManagerService.GetNodeStats`. Needs grpcio: without it, tasks that hold no resource are seen only where
      none of the actors in `apart_from` lives.

    Raises
    ------
    StoreUnavailable
        This process is not connected, or the GCS does not answer.
    """
    record = next((record for record in node_records() if record.node_id.hex() == node_id), None)
    if record is None or record.state != rpc.messages("gcs").GcsNodeInfo.GcsNodeState.ALIVE:
        return ["it is not alive"]
    pb = rpc.messages("autoscaler")
    with explained():
        reply = pb.GetClusterResourceStateReply.FromString(gcs_client().get_cluster_resource_state())
    states = reply.cluster_resource_state.node_states
    state = next((state for state in states if state.node_id.hex() == node_id), pb.NodeState())
    exempt, others = _actors_on(node_id, apart_from)
    tasks = list(_tasks(record, {actor.actor_id for actor in (*exempt, *others)}))
    activities = _activities(record.state_snapshot, state)
    reasons = [*_resources(state, activities), *_actors(others), *tasks]
    if _LEASED in activities and not (exempt or others or tasks):
        reasons.append("a worker is leased to a task")
    return reasons


def _activities(snapshot: Any, state: Any) -> list[str]:
    """The reasons why the raylet is busy, in its words (`LocalResourceManager::PopulateResourceViewSyncMessage`)."""
    states = rpc.messages("gcs").NodeSnapshot.State
    if snapshot.state == states.Value("ACTIVE"):
        return _active(snapshot)
    if snapshot.state == states.Value("IDLE"):
        return []
    totals = state.total_resources.items()  # it drains: the snapshot tells nothing
    return [_IN_USE.format(name) for name, total in totals if total > state.available_resources.get(name, 0)]


def _resources(state: Any, activities: list[str]) -> Iterator[str]:
    """The resources in use, with amounts if `NodeState` has them, and the raylet's other reasons to be busy."""
    names = {activity.removeprefix("Resource: ").removesuffix(" currently in use.") for activity in activities}
    for name in sorted(names & {*state.total_resources, "object_store_memory"}):
        total = state.total_resources.get(name, 0)
        used = total - state.available_resources.get(name, 0)
        if name == "object_store_memory":
            yield "its Ray object store holds " + (f"{int(used):,} bytes" if used > 1 else "objects")
        elif "_group_" not in name:
            yield f"{used:g} of {total:g} {name} in use" if used > 0 else f"{name} in use"
    # `AddPlacementGroupConstraint` and others name them: each bundle adds `bundle_group_<index>_<id>` to its node
    groups = {name.rpartition("_")[2] for name in state.total_resources if name.startswith("bundle_group_")}
    if groups and names & {*state.total_resources}:
        yield f"{count(len(groups), 'placement group')} reserved there"
    others = [activity for activity in activities if activity != _LEASED and not activity.startswith("Resource: ")]
    yield from (activity.rstrip(".").lower() for activity in others)  # as `Pulling task arguments.`


def _actors_on(node_id: str, names: set[str]) -> tuple[list[Any], list[Any]]:
    """`ActorTableData` of the actors that live on this node: those of these names, and the others."""
    table = rpc.messages("gcs").ActorTableData
    with explained():
        serialized = _accessor().get_actor_table(None, "ALIVE")
    here = [actor for actor in map(table.FromString, serialized) if actor.node_id.hex() == node_id]
    exempt = [actor for actor in here if actor.ray_namespace == NAMESPACE and actor.name in names]
    return exempt, [actor for actor in here if actor not in exempt]


def _actors(others: list[Any]) -> Iterator[str]:
    if others:
        named = sorted((actor.name or actor.class_name for actor in others), key=lambda name: (not name, name))
        yield f"{count(len(others), 'actor')} there, as {named[0]}"


def _tasks(record: Any, actors: set[bytes]) -> Iterator[str]:
    """Tasks that workers of this node run, calls of these actors left out."""
    if importlib.util.find_spec("grpc") is None:
        return
    pb, worker_type = rpc.messages("node_manager"), rpc.messages("common").WorkerType
    address = f"{record.node_manager_address}:{record.node_manager_port}"
    try:
        with rpc.explained(f"the raylet at {address}"):
            reply = rpc.raylet(address).GetNodeStats(pb.GetNodeStatsRequest(), timeout=PATIENCE)
    except StoreUnavailable as error:
        yield str(error)  # not known: count it as not idle
        return
    running = [
        stats
        for stats in reply.core_workers_stats
        if stats.worker_type == worker_type.Value("WORKER")
        and stats.worker_id
        and stats.actor_id not in actors
        and stats.num_running_tasks
    ]
    tasks = [stats for stats in running if not stats.actor_id.hex().strip(_NOBODY)]
    if tasks:
        pids = ", ".join(str(stats.pid) for stats in tasks[:3])
        yield f"{count(len(tasks), 'worker')} running a task (pid {pids}{', ...' if len(tasks) > 3 else ''})"
    if starting := len(running) - len(tasks):
        yield f"{count(starting, 'actor')} starting or ending there"


def node_records() -> list[Any]:
    """`GcsNodeInfo` of every node (`GcsClient.get_all_node_info`, which gives a dict by id)."""
    with explained():
        found = gcs_client().get_all_node_info(timeout=PATIENCE)
    return list(found.values()) if isinstance(found, Mapping) else list(found)


def gcs_client() -> Any:
    """`GcsClient` of `ray._raylet`, which every connected process has. Otherwise one for the GCS that was named."""
    worker: Any = _worker.global_worker
    if worker.connected and worker.gcs_client is not None:
        return worker.gcs_client
    return _client_of(rpc.gcs_address())


@lru_cache(maxsize=1)
def _client_of(address: str) -> Any:
    return importlib.import_module("ray._raylet").GcsClient(address=address)


def _accessor() -> Any:
    """`GlobalStateAccessor` of `ray._raylet`, as `ray._private.state` uses it: by another way in Ray 2.49."""
    gcs_client()
    state: Any = _state.state
    if hasattr(state, "_connect_and_get_accessor"):
        return state._connect_and_get_accessor()
    state._check_connected()
    return state.global_state_accessor


@contextmanager
def explained() -> Iterator[None]:
    """Turn Ray's errors into one that says that the GCS did not answer."""
    try:
        yield
    except RayError as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreUnavailable(
            f"the GCS did not answer ({reason}); is the head still alive? See `ray status`"
        ) from None
