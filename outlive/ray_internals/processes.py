"""The statistics of each process of a node, and the processes that do not answer.

A raylet asks all of its processes and waits for every one, without a deadline (`HandleGetNodeStats` in
src/ray/raylet/node_manager.cc): a stopped process, also a driver, hides its whole node. So if a raylet takes longer
than a moment, each process is asked by itself (`CoreWorkerService.GetCoreWorkerStats`). The GCS has their addresses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from outlive.errors import StoreUnavailable
from outlive.ray_internals import node_workers, rpc
from outlive.ray_internals.node_workers import LiveNode, Registered

RAYLET_PATIENCE = 1.5  # seconds for a raylet to ask all its processes
PATIENCE = 3.0  # seconds for one process
_AGAIN = 1.0  # seconds for a process that did not answer before
_AT_ONCE = 256  # calls that wait at the same time; a call to a process takes a descriptor

_silent_since: dict[str, float] = {}
"""By worker id: Unix time since when it has not answered this process. Its node is then asked without its raylet."""


@dataclass(frozen=True)
class Silent:
    """A process that did not answer although the GCS takes it for alive."""

    worker_id: str
    pid: int
    kind: str
    """`WORKER`, `DRIVER`, `SPILL_WORKER` or `RESTORE_WORKER`."""
    job: str | None
    since: float
    """Unix time at which it first did not answer this process."""


@dataclass(frozen=True)
class Answer:
    """The answers from a node."""

    node: LiveNode
    processes: tuple[Any, ...] = ()
    """`CoreWorkerStats` of common.proto, one for each process that answered."""
    silent: tuple[Silent, ...] = ()
    ended: int = 0
    """Processes that were starting or ending, and could not be asked."""
    store: Any = None
    """`ObjectStoreStats` of node_manager.proto. None: only the raylet knows, and it did not answer."""
    error: str | None = None
    """A text if the raylet itself does not answer."""

    @property
    def complete(self) -> bool:
        """Whether every process of the node is among `processes`."""
        return not (self.silent or self.ended or self.error)


@dataclass(frozen=True)
class WorkerStats:
    """One process: `CoreWorkerStats` in common.proto."""

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
    """Objects that it owns or borrows, and actor handles."""
    executed: int
    address: str


def worker_stats(answer: Answer) -> list[WorkerStats]:
    """The processes that answered, typed."""
    kinds = rpc.messages("common").WorkerType
    return [
        WorkerStats(
            worker_id=stats.worker_id.hex(),
            pid=stats.pid,
            kind=kinds.Name(stats.worker_type),
            job=node_workers.id_or_none(stats.job_id),
            actor=node_workers.id_or_none(stats.actor_id),
            running=stats.num_running_tasks,
            pending=stats.num_pending_tasks,
            owned=stats.num_owned_objects,
            in_scope=stats.num_object_refs_in_scope,
            executed=stats.num_executed_tasks,
            address=f"{stats.ip_address}:{stats.port}",
        )
        for stats in answer.processes
    ]


def ask(
    nodes: Sequence[LiveNode],
    *,
    references: bool = False,
    registered: Iterable[Registered] | None = None,
    at_once: int = _AT_ONCE,
) -> list[Answer]:
    """Ask each node's raylet, and if it is slow, each process. Takes 5 s at most if no more than 256 are silent, and no
    more than `at_once` of the raylets.

    Parameters
    ----------
    references
        Include each reference that a process counts, of some 100 bytes. Their number is told without this.
    registered
        The processes that the GCS takes for alive, if it was asked already.
    at_once
        How many raylets are asked at the same time. Each of many takes more processor time, of few more time.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer. It is asked if a raylet is slow. A node that does not answer is no error.
    """
    known = None if registered is None else list(registered)
    if known is None and _silent_since:
        known = node_workers.registered()
    hampered = {one.node_id for one in known or () if one.worker_id in _silent_since}
    found = _of_raylets([node for node in nodes if node.node_id not in hampered], references, at_once)
    if slow := [node for node in nodes if node.node_id not in found]:
        known = node_workers.registered() if known is None else known
        found |= {answer.node.node_id: answer for answer in _one_by_one(slow, known, references)}
    _remember(found.values(), known)
    return [found[node.node_id] for node in nodes]


def ask_one(node: LiveNode, *, references: bool = False) -> Answer:
    """`ask`, for one node.

    Raises
    ------
    StoreUnavailable
        Its raylet or the GCS does not answer.
    """
    (answer,) = ask([node], references=references)
    if answer.error is not None:
        raise StoreUnavailable(answer.error)
    return answer


def _of_raylets(nodes: Sequence[LiveNode], references: bool, at_once: int) -> dict[str, Answer]:
    """By node id: the replies of raylets that heard from all their processes soon."""
    import grpc

    request = rpc.messages("node_manager").GetNodeStatsRequest(include_memory_info=references)

    def of_raylet(node: LiveNode) -> Any:
        try:
            return rpc.raylet(node.address).GetNodeStats(request, timeout=RAYLET_PATIENCE)
        except grpc.RpcError as error:
            return _failure(error)

    found = {}
    # A call that waits takes half the processor time of a future, for which grpcio starts a thread on each channel.
    with ThreadPoolExecutor(min(at_once, len(nodes)) or 1) as pool:
        replies = [*pool.map(of_raylet, nodes)]
    for node, reply in zip(nodes, replies, strict=True):
        if not isinstance(reply, _Failure):
            heard = tuple(stats for stats in reply.core_workers_stats if stats.worker_id)
            ended = len(reply.core_workers_stats) - len(heard)
            found[node.node_id] = Answer(node, heard, ended=ended, store=reply.store_stats)
    return found


@dataclass(frozen=True)
class _Failure:
    code: str
    """The name of the error, such as `unavailable` or `deadline exceeded`."""


def _gather(questions: Iterable[Callable[[], Any]]) -> list[Any]:
    """The replies to all calls, of which `_AT_ONCE` wait at the same time. A call without a reply has a `_Failure`."""
    import grpc

    slots = threading.BoundedSemaphore(_AT_ONCE)
    calls = []
    for question in questions:
        slots.acquire()  # this waits until a call's deadline at the latest
        call = question()
        call.add_done_callback(lambda _: slots.release())
        calls.append(call)
    replies: list[Any] = []
    for call in calls:
        try:
            replies.append(call.result())
        except grpc.RpcError as error:
            replies.append(_failure(error))
    return replies


def _failure(error: BaseException) -> _Failure:
    code: Any = getattr(error, "code", lambda: None)()
    return _Failure(getattr(code, "name", "unknown").lower().replace("_", " "))


def _one_by_one(nodes: Sequence[LiveNode], registered: Iterable[Registered], references: bool) -> list[Answer]:
    """Ask each process of these nodes, and whether the raylets themselves answer."""
    here = {node.node_id for node in nodes}
    members = [one for one in registered if one.node_id in here]
    asked = time.time()
    raylets, replies = _part(nodes, members[:_AT_ONCE], references)
    for start in range(_AT_ONCE, len(members), _AT_ONCE):
        replies += _part([], members[start : start + _AT_ONCE], references)[1]
    found: dict[str, list[tuple[Registered, Any]]] = {node.node_id: [] for node in nodes}
    for one, reply in zip(members, replies, strict=True):
        found[one.node_id].append((one, reply))
    return [_answer(node, raylet, found[node.node_id], asked) for node, raylet in zip(nodes, raylets, strict=True)]


def _part(nodes: Sequence[LiveNode], members: Sequence[Registered], references: bool) -> tuple[list[Any], list[Any]]:
    """Replies of these raylets, and of these processes, each over a connection of its own."""
    core_worker, node_manager = rpc.messages("core_worker"), rpc.messages("node_manager")
    with ExitStack() as channels:

        def of_raylet(node: LiveNode) -> Any:
            return rpc.raylet(node.address).GetSystemConfig.future(
                node_manager.GetSystemConfigRequest(), timeout=PATIENCE
            )

        def of_process(one: Registered) -> Any:
            request = core_worker.GetCoreWorkerStatsRequest(
                intended_worker_id=bytes.fromhex(one.worker_id), include_memory_info=references
            )
            stub = channels.enter_context(rpc.worker(one.address))
            patience = _AGAIN if one.worker_id in _silent_since else PATIENCE
            return stub.GetCoreWorkerStats.future(request, timeout=patience)

        replies = _gather(
            [*(partial(of_raylet, node) for node in nodes), *(partial(of_process, one) for one in members)]
        )
    return replies[: len(nodes)], replies[len(nodes) :]


def _answer(node: LiveNode, raylet: Any, replies: Sequence[tuple[Registered, Any]], asked: float) -> Answer:
    error = None
    if isinstance(raylet, _Failure):
        error = (
            f"the raylet of node {node.node_id[:8]} ({node.address}) did not answer ({raylet.code}); is the node still "
            "alive? See `ray status`"
        )
    silent, heard, ended = [], [], 0
    for one, reply in replies:
        if not isinstance(reply, _Failure):
            heard.append(reply.core_worker_stats)
        elif error is not None or reply.code == "deadline exceeded":
            silent.append(Silent(one.worker_id, one.pid, one.kind, one.job, _silent_since.get(one.worker_id, asked)))
        else:
            ended += 1  # nothing listens there any more
    return Answer(node, tuple(heard), tuple(silent), ended, None, error)


def _remember(answers: Iterable[Answer], registered: Iterable[Registered] | None) -> None:
    """Note which processes are silent now: those that neither answered nor are dead to the GCS."""
    for answer in answers:
        for stats in answer.processes:
            _silent_since.pop(stats.worker_id.hex(), None)
        for one in answer.silent:
            _silent_since.setdefault(one.worker_id, one.since)
    if registered is not None:
        for worker_id in {*_silent_since} - {one.worker_id for one in registered}:
            _silent_since.pop(worker_id, None)


def forget() -> None:
    """Forget which processes were silent: all are asked as if for the first time."""
    _silent_since.clear()
