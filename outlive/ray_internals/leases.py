"""Holding an idle worker by a lease, so that no task can reach it, and asking it to exit meanwhile.

The `Exit` RPC by itself races with the raylet, which may hand the worker to a task at the same moment: that task is
lost. So the raylet is asked for the worker first, as the owner of a task would (`RequestWorkerLease`, no resources):
it takes the worker off its idle list, and the next task gets another worker. A worker refuses `Exit` while it holds
any reference, pending task or pin, which is the rule of Ray's own reaper. Then the lease is returned. If the worker
refused, it is returned too. (src/ray/raylet/node_manager.cc `HandleRequestWorkerLease`, `HandleReturnWorkerLease`;
worker_pool.cc `PopWorker`, `KillIdleWorker`.)

For each worker a raylet notes the detached actor from which its last lease descended, its root
(`root_detached_actor_id`), and leases it for no other such actor. A worker without a root is forced out when its job
ends, whatever it owns. So if the job has a detached actor, a lease names a root: a lease without one would take the
root from every worker that it gets. When a job has ended, the raylet leases its workers only for a root, in the name of
a caller that lives. If no actor of that job lives, no worker is leased, and asking is safe.

The lease is taken in the name of the job's own driver: if this process dies while it holds one, the raylet does not
kill the worker, as it does with the workers of a dead owner. Another process returns it then (`lease_returner`).

2.49 leases by `TaskSpec` and returns with `ReturnWorker`; from 2.50 on there are `LeaseSpec` and `ReturnWorkerLease`.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from outlive.errors import StoreUnavailable, UnsupportedRay
from outlive.ray_internals import node_workers, rpc
from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.lease_guard import Entry, LeaseGuard
from outlive.ray_internals.node_workers import Job, LiveNode

_AT_ONCE = 32  # raylets that are asked for what they may have granted late
_STARTING = 0.25  # seconds: if the raylet has no idle worker by then, it is told not to start one
_GPU = 0.0001  # the smallest share that Ray can lease: a worker that served GPU tasks is leased only for GPU tasks
NO_ENVIRONMENT = b"\n\x02{}"
"""`RuntimeEnvInfo(serialized_runtime_env="{}")`: that of workers that were started before any job."""
_NO_TASK = b"\xff" * 20
_guard = LeaseGuard()


@dataclass(frozen=True)
class Pool:
    """The workers that one lease may get: of one job and one runtime environment, with or without GPU."""

    job: Job
    runtime_env: bytes
    """`RuntimeEnvInfo`, serialized."""
    gpu: bool = False
    root: JobActor | None = None
    """If the job has detached actors: the one from which the workers' tasks descended. It may be dead."""
    caller: JobActor | None = None
    """If the job has ended: a living detached actor of it, in whose name they are leased."""


@dataclass(frozen=True)
class Lease:
    """A worker that no other process can use."""

    node: LiveNode
    lease_id: bytes
    worker_id: str
    pid: int
    port: int
    address: str


def job_environment(job: Job) -> bytes:
    """The runtime environment of the tasks of a job that name none, serialized."""
    raw: bytes = job.record.config.runtime_env_info.SerializeToString(deterministic=True)
    return raw


def is_job_environment(job: Job, runtime_env: bytes) -> bool:
    """Whether the raylet takes it for the job's environment: it compares only the text."""
    own = job.record.config.runtime_env_info
    text: str = type(own).FromString(runtime_env).serialized_runtime_env
    return (text or "{}") == (own.serialized_runtime_env or "{}")


def take(node: LiveNode, pool: Pool) -> Lease | None:
    """Lease the worker of the pool that became idle last; None if no idle one is left.

    Raises
    ------
    StoreUnavailable
        The raylet does not answer.
    UnsupportedRay
        This version of Ray leases workers in a way that outlive does not know.
    """
    lease_id, request = _request(node, pool)
    if pool.root is not None or not _is_own(pool.job):
        _guard.about_to_take(lease_id, node.address)
    try:
        lease, fresh = _asked_for(node, lease_id, request)
    except BaseException:
        _guard.leave({"lease": lease_id.hex(), "raylet": node.address})  # it may be granted late
        raise
    if lease is not None and fresh:
        give_back(lease)  # which leaves it only where a lease has a name of its own
        return None
    return lease


def _asked_for(node: LiveNode, lease_id: bytes, request: Any) -> tuple[Lease | None, bool]:
    """The lease, and whether its worker had to be started."""
    import grpc

    node_manager_pb2 = rpc.messages("node_manager")
    raylet = rpc.raylet(node.address)
    with rpc.explained(f"the raylet of node {node.node_id[:8]} ({node.address})"):
        answer = raylet.RequestWorkerLease.future(request, timeout=rpc.PATIENCE * 6)
        try:
            reply = answer.result(timeout=_STARTING)
        except grpc.FutureTimeoutError:  # it is starting a worker: the lease is granted or cancelled soon
            raylet.CancelWorkerLease(_cancel(node_manager_pb2, lease_id), timeout=rpc.PATIENCE)
            reply = answer.result()
            fresh = True
        else:
            fresh = False
    if reply.canceled or reply.rejected or not reply.worker_address.worker_id:
        _guard.returned(lease_id)
        return None, fresh
    lease = Lease(
        node=node,
        lease_id=lease_id,
        worker_id=reply.worker_address.worker_id.hex(),
        pid=reply.worker_pid,
        port=reply.worker_address.port,
        address=f"{reply.worker_address.ip_address}:{reply.worker_address.port}",
    )
    _guard.learn(lease_id, worker=lease.address, worker_id=lease.worker_id, port=lease.port)
    return lease, fresh


def _is_own(job: Job) -> bool:
    """Whether this process is the job's driver: when it ends, the raylet takes back the leases in its name."""
    import ray
    from ray._private import worker

    current: Any = worker.global_worker
    return bool(current.connected and current.mode == ray.SCRIPT_MODE and current.current_job_id.hex() == job.job_id)


def let_exit(lease: Lease) -> bool | None:
    """`ask_to_exit`, for a leased worker."""
    _guard.learn(lease.lease_id, asked=True)
    return ask_to_exit(lease.address)


def ask_to_exit(address: str, *, force: bool = False) -> bool | None:
    """Ask a worker that no task can reach to exit: a leased one, or one of an ended job that no actor can use.

    False: it refused, because it holds an object, a reference or a pending task. None: it did not answer, so it may
    still exit. A leased worker must not go back to the pool then: return the lease with `exiting`. So no task can reach
    it, and its objects stay.

    Parameters
    ----------
    force
        It exits even if it holds objects, which are lost then.
    """
    import grpc

    request = rpc.messages("core_worker").ExitRequest(force_exit=force)
    try:
        with rpc.worker(address) as worker:
            return bool(worker.Exit(request, timeout=rpc.PATIENCE).success)
    except grpc.RpcError:
        return None


def give_back(lease: Lease, *, exiting: bool = False) -> None:
    """Return the lease. The worker becomes idle again, as the latest, unless it is `exiting`."""
    try:
        with rpc.explained(f"the raylet of node {lease.node.node_id[:8]} ({lease.node.address})"):
            _return(lease.node.address, lease.lease_id, lease.worker_id, lease.port, exiting=exiting)
    except BaseException:
        if _names_leases():
            leave(lease, exiting=exiting)
        else:  # the raylet may have taken it back late, and given the worker to a task: nobody may return it again
            _guard.returned(lease.lease_id)
        raise
    _guard.returned(lease.lease_id)


def leave(lease: Lease, *, exiting: bool = False) -> None:
    """Leave a lease to `return_left`."""
    facts = {"worker": lease.address, "worker_id": lease.worker_id, "port": lease.port, "asked": exiting}
    _guard.leave({"lease": lease.lease_id.hex(), "raylet": lease.node.address, **facts})


def _names_leases() -> bool:
    """Whether a lease is returned by its own id, as from Ray 2.50 on. Before, it is returned by its worker's."""
    return hasattr(rpc.messages("node_manager"), "ReturnWorkerLeaseRequest")


def _return(raylet: str, lease_id: bytes, worker_id: str, port: int, *, exiting: bool) -> None:
    messages, stub = rpc.messages("node_manager"), rpc.raylet(raylet)
    if _names_leases():
        stub.ReturnWorkerLease(
            messages.ReturnWorkerLeaseRequest(lease_id=lease_id, worker_port=port, worker_exiting=exiting),
            timeout=rpc.PATIENCE,
        )
    elif worker_id:
        stub.ReturnWorker(
            messages.ReturnWorkerRequest(worker_id=bytes.fromhex(worker_id), worker_port=port, worker_exiting=exiting),
            timeout=rpc.PATIENCE,
        )


def return_left() -> None:
    """Return the leases that this process could not return when it was done with them.

    A raylet that did not answer then, as one that was stopped, may have granted them since. Those of a raylet that does
    not answer now are left to the next call. Only a process that lives on needs this: its leases end with it.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    left: dict[str, list[Entry]] = {}
    for entry in _guard.claim_left():
        left.setdefault(entry["raylet"], []).append(entry)
    if not left:
        return
    try:
        raylets = {node.address for node in node_workers.nodes()}
        with ThreadPoolExecutor(min(_AT_ONCE, len(left))) as pool:  # a raylet that is silent holds up no other
            for settled in [pool.submit(_settle_all, left[one], there=one in raylets) for one in left]:
                settled.result()
    finally:
        for entry in (entry for entries in left.values() for entry in entries):
            _guard.leave(entry)


def _settle_all(left: list[Entry], *, there: bool) -> None:
    """Return the leases of one raylet, and take them out of the list, until it does not answer."""
    with contextlib.suppress(StoreUnavailable):
        while left:
            if there:  # a lease ends with its node
                settle(left[0])
            _guard.returned(bytes.fromhex(left.pop(0)["lease"]))


def settle(entry: Entry) -> None:
    """Return a lease whose holder was killed, at any step.

    Raises
    ------
    StoreUnavailable
        The raylet does not answer.
    """
    lease_id, raylet = bytes.fromhex(entry["lease"]), entry["raylet"]
    worker_id, port = entry.get("worker_id", ""), entry.get("port", 0)
    exiting = False
    if entry.get("asked"):  # it may be about to exit: no task may get it
        exiting = ask_to_exit(entry["worker"]) is not False
    with rpc.explained(f"the raylet at {raylet}"):
        if not worker_id:  # the lease may not be granted yet
            stub = rpc.raylet(raylet)
            stub.CancelWorkerLease(_cancel(rpc.messages("node_manager"), lease_id), timeout=rpc.PATIENCE)
        _return(raylet, lease_id, worker_id, port, exiting=exiting)


def prestart(node: LiveNode, pool: Pool, number: int, keep_alive: int) -> None:
    """Start `number` workers for the pool. The reaper spares them for `keep_alive` seconds."""
    common_pb2 = rpc.messages("common")
    node_manager_pb2 = rpc.messages("node_manager")

    request = node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.PYTHON,
        num_workers=number,
        job_id=bytes.fromhex(pool.job.job_id),
        keep_alive_duration_secs=keep_alive,
    )
    request.runtime_env_info.ParseFromString(pool.runtime_env)
    with rpc.explained(f"the raylet of node {node.node_id[:8]} ({node.address})"):
        rpc.raylet(node.address).PrestartWorkers(request, timeout=rpc.PATIENCE)


def _request(node: LiveNode, pool: Pool) -> tuple[bytes, Any]:
    common_pb2 = rpc.messages("common")
    node_manager_pb2 = rpc.messages("node_manager")

    job_id = bytes.fromhex(pool.job.job_id)
    if hasattr(common_pb2, "LeaseSpec"):
        lease_id = os.urandom(32)  # LeaseID::Size() in src/ray/common/id.h
        spec = common_pb2.LeaseSpec(lease_id=lease_id, task_name="outlive workers trim")
        request = node_manager_pb2.RequestWorkerLeaseRequest(grant_or_reject=True)
        field = "lease_spec"
    elif hasattr(node_manager_pb2, "ReturnWorkerRequest"):
        lease_id = os.urandom(8) + b"\xff" * 12 + job_id  # a TaskID without an actor
        spec = common_pb2.TaskSpec(task_id=lease_id, name="outlive workers trim", caller_id=_NO_TASK + job_id)
        request = node_manager_pb2.RequestWorkerLeaseRequest(grant_or_reject=True)
        field = "resource_spec"
    else:
        import ray

        raise UnsupportedRay(
            f"Ray {ray.__version__} leases workers in a way that this version of outlive does not know; no worker was "
            "touched. Use Ray 2.49 to 2.60, or let Ray's own reaper do it: `outlive workers plan`"
        )
    spec.type = common_pb2.NORMAL_TASK
    spec.language = common_pb2.PYTHON
    spec.job_id = job_id
    spec.parent_task_id = _NO_TASK + job_id
    spec.caller_address.CopyFrom(pool.caller.record.address if pool.caller else pool.job.record.driver_address)
    if pool.root is not None:
        spec.root_detached_actor_id = bytes.fromhex(pool.root.actor_id)
    spec.runtime_env_info.ParseFromString(pool.runtime_env)
    spec.function_descriptor.python_function_descriptor.module_name = "outlive.workers"
    spec.function_descriptor.python_function_descriptor.function_name = "trim"
    spec.scheduling_strategy.node_affinity_scheduling_strategy.node_id = bytes.fromhex(node.node_id)
    if pool.gpu:
        spec.required_resources["GPU"] = _GPU
        spec.required_placement_resources["GPU"] = _GPU
    getattr(request, field).CopyFrom(spec)
    return lease_id, request


def _cancel(messages: Any, lease_id: bytes) -> Any:
    request = messages.CancelWorkerLeaseRequest()
    field = "lease_id" if "lease_id" in request.DESCRIPTOR.fields_by_name else "task_id"
    setattr(request, field, lease_id)
    return request
