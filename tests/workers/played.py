"""A cluster that is played: a GCS, raylets and workers that answer as Ray's do, over real gRPC, without any Ray.

They count what they are asked, take as long as they are told, and fall silent as a stopped process does: the kernel
takes the connection, and nobody answers. A raylet waits for all its workers, as Ray's (`HandleGetNodeStats`).
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory

from outlive.ray_internals import processes, rpc

JOB = "01000000"


class Process:
    """One worker, or the driver."""

    def __init__(self, number: int, node: Node, kind: str) -> None:
        self.worker_id = f"{number:056x}"
        self.node, self.kind, self.pid = node, kind, 4_000_000 + number  # above the kernel's pid_max: none is real
        self.silent = False
        self.gone = False
        """It has ended, and the GCS has not heard of it yet."""
        self.owned = self.running = 0
        self.executed = 1
        self.job = JOB

    def stats(self) -> Any:
        common = rpc.messages("common")
        return common.CoreWorkerStats(
            worker_id=bytes.fromhex(self.worker_id),
            pid=self.pid,
            worker_type=common.WorkerType.Value(self.kind),
            job_id=bytes.fromhex(self.job),
            actor_id=b"\xff" * 16,
            num_owned_objects=self.owned,
            num_running_tasks=self.running,
            num_object_refs_in_scope=self.owned,
            num_executed_tasks=self.executed,
            ip_address="127.0.0.1",
            port=self.node.port,
        )


class Node:
    """One raylet and its workers."""

    def __init__(self, cluster: PlayedCluster, number: int, workers: int) -> None:
        self.cluster, self.node_id = cluster, f"{number + 1:016x}{cluster.mark}"
        self.silent = False
        self.unknown: set[str] = set()
        """Methods that it does not have."""
        self.leased: dict[bytes, Process] = {}
        self._asked: list[Any] = []  # the requests for leases that have come, and are not answered yet
        self.port = cluster.serve(self)
        kinds = ["DRIVER"] * (number == 0) + ["WORKER"] * workers
        self.processes = [Process(1000 * (number + 1) + i, self, kind) for i, kind in enumerate(kinds)]

    @property
    def workers(self) -> list[Process]:
        """Without the driver."""
        return [one for one in self.processes if one.kind == "WORKER"]

    def GetNodeStats(self, request: Any) -> Any:  # noqa: N802 - as Ray calls it
        self.cluster.wait_while(lambda: self.silent or any(one.silent for one in self.processes))
        time.sleep(self.cluster.raylet_takes)
        reply = rpc.messages("node_manager").GetNodeStatsReply()
        reply.core_workers_stats.extend(one.stats() for one in [*self.processes] if not one.gone)
        return reply

    def GetSystemConfig(self, request: Any) -> Any:  # noqa: N802
        self.cluster.wait_while(lambda: self.silent)
        return rpc.messages("node_manager").GetSystemConfigReply()

    def GetCoreWorkerStats(self, request: Any) -> Any:  # noqa: N802 - its workers share its port
        (one,) = [one for one in self.processes if one.worker_id == request.intended_worker_id.hex()]
        self.cluster.wait_while(lambda: one.silent)
        return rpc.messages("core_worker").GetCoreWorkerStatsReply(core_worker_stats=one.stats())

    def RequestWorkerLease(self, request: Any) -> Any:  # noqa: N802 - the latest idle worker first
        self._asked.append(request)
        self.cluster.wait_while(lambda: self.silent)
        try:
            return self._lease(request)
        finally:
            self._asked.remove(request)

    def _lease(self, request: Any) -> Any:
        lease_id, job = _asked_lease(request)
        free = [one for one in self.workers if not one.running and one.job == job and one not in self.leased.values()]
        reply = rpc.messages("node_manager").RequestWorkerLeaseReply(canceled=not free)
        if free:
            self.leased[lease_id] = one = free[-1]
            reply.worker_address.worker_id, reply.worker_pid = bytes.fromhex(one.worker_id), one.pid
            reply.worker_address.ip_address, reply.worker_address.port = "127.0.0.1", self.port
        return reply

    def CancelWorkerLease(self, request: Any) -> Any:  # noqa: N802 - a raylet takes its calls in their order
        self.cluster.wait_while(lambda: self.silent or self._asked)
        return rpc.messages("node_manager").CancelWorkerLeaseReply()

    def ReturnWorkerLease(self, request: Any) -> Any:  # noqa: N802
        self._return(request.lease_id, exiting=request.worker_exiting)
        return rpc.messages("node_manager").ReturnWorkerLeaseReply()

    def ReturnWorker(self, request: Any) -> Any:  # noqa: N802 - as before Ray 2.50
        theirs = [lease for lease, one in self.leased.items() if one.worker_id == request.worker_id.hex()]
        self._return(theirs[0] if theirs else b"", exiting=request.worker_exiting)
        return rpc.messages("node_manager").ReturnWorkerReply()

    def _return(self, lease_id: bytes, *, exiting: bool) -> None:
        self.cluster.wait_while(lambda: self.silent)
        self.cluster.returned += 1
        one = self.leased.pop(lease_id, None)
        if exiting and one is not None:
            self.processes.remove(one)

    def Exit(self, request: Any) -> Any:  # noqa: N802 - of the worker that was leased last: they share its port
        left_over = [one for one in self.workers if one.job in self.cluster.ended]
        one = [*left_over[:1], *self.leased.values()][-1]
        self.cluster.exits.append(one.pid)
        self.cluster.at_exit(one)
        if one in left_over and not one.owned:
            self.processes.remove(one)
        return rpc.messages("core_worker").ExitReply(success=not one.owned)


def _asked_lease(request: Any) -> tuple[bytes, str]:
    """The id of the lease that is asked for, and the job in whose name. Before Ray 2.50 a task's id names the lease."""
    if "lease_spec" in request.DESCRIPTOR.fields_by_name:
        return request.lease_spec.lease_id, request.lease_spec.job_id.hex()
    return request.resource_spec.task_id, request.resource_spec.job_id.hex()


class PlayedCluster:
    """The GCS, and all nodes."""

    def __init__(self, nodes: int, workers: int, *, functions: int = 3, tasks: int = 1) -> None:
        self.calls: Counter[str] = Counter()
        self.returned = 0
        """Leases that were returned."""
        self.sent: Counter[str] = Counter()
        """Bytes of the replies, by method."""
        self.kept: dict[bytes, bytes] = {}
        """The GCS's key-value store."""
        self.exits: list[int] = []
        """Pids of the workers that were asked to exit."""
        self.at_exit: Callable[[Process], object] = lambda _: None
        self.jobs = {JOB: "python played.py"}
        self.ended: set[str] = set()
        """Those of the jobs that have ended."""
        self.silent = False
        self.mark = uuid.uuid4().hex + "00000000"
        self.gcs_takes = self.raylet_takes = 0.0
        self._servers: list[Any] = []
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(400)
        self.port = self.serve(self)
        self.nodes = [Node(self, number, workers) for number in range(nodes)]
        self.functions, self.tasks = functions, tasks

    @property
    def address(self) -> str:
        """Of its GCS."""
        return f"127.0.0.1:{self.port}"

    def serve(self, asked: Any) -> int:
        """Answer on a port of its own by the methods of `asked`."""
        server = grpc.server(self._threads, [_Answers(self, asked)], options=[("grpc.so_reuseport", 0)])
        port = int(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        self._servers.append(server)
        return port

    def close(self) -> None:
        """End all at once."""
        self._over.set()
        for server in self._servers:
            server.stop(None)
        self._threads.shutdown()

    def wait_while(self, condition: Any) -> None:
        """Answer nobody meanwhile."""
        while condition() and not self._over.wait(0.02):
            pass

    def _gcs(self, reply: str) -> Any:
        self.wait_while(lambda: self.silent)
        time.sleep(self.gcs_takes)
        return getattr(rpc.messages("gcs_service"), reply)()

    # --- the GCS

    def GetClusterId(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("GetClusterIdReply")
        reply.cluster_id = bytes(28)
        return reply

    def GetAllNodeInfo(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("GetAllNodeInfoReply")
        alive = rpc.messages("gcs").GcsNodeInfo.GcsNodeState.ALIVE
        assert request.state_filter == alive
        for node in self.nodes:
            reply.node_info_list.add(
                node_id=bytes.fromhex(node.node_id),
                node_manager_address="127.0.0.1",
                node_manager_port=node.port,
                node_manager_hostname="played",
                state=alive,
                is_head_node=node is self.nodes[0],
                resources_total={"CPU": 8},
            )
        return reply

    def GetAllWorkerInfo(self, request: Any) -> Any:  # noqa: N802
        reply, common = self._gcs("GetAllWorkerInfoReply"), rpc.messages("common")
        assert request.filters.is_alive
        for one in (one for node in self.nodes for one in node.processes):
            row = reply.worker_table_data.add(
                is_alive=True, pid=one.pid, worker_type=common.WorkerType.Value(one.kind), start_time_ms=1
            )
            row.worker_address.node_id = bytes.fromhex(one.node.node_id)
            row.worker_address.worker_id = bytes.fromhex(one.worker_id)
            row.worker_address.ip_address, row.worker_address.port = "127.0.0.1", 1 if one.gone else one.node.port
        return reply

    def GetInternalConfig(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("GetInternalConfigReply")
        reply.config = "{}"
        return reply

    def GetAllAvailableResources(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("GetAllAvailableResourcesReply")
        for node in self.nodes:
            reply.resources_list.add(node_id=bytes.fromhex(node.node_id), resources_available={"CPU": 8})
        return reply

    def GetAllJobInfo(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("GetAllJobInfoReply")
        for job, entrypoint in self.jobs.items():
            reply.job_info_list.add(job_id=bytes.fromhex(job), entrypoint=entrypoint, is_dead=job in self.ended)
        return reply

    def GetTaskEvents(self, request: Any) -> Any:  # noqa: N802
        reply, common = self._gcs("GetTaskEventsReply"), rpc.messages("common")
        for one in (one for node in self.nodes for one in node.workers for _ in range(self.tasks)):
            event = reply.events_by_task.add(job_id=bytes.fromhex(JOB))
            event.task_info.func_or_class_name = "f0"
            event.state_updates.worker_id = bytes.fromhex(one.worker_id)
            event.state_updates.state_ts_ns[common.TaskStatus.Value("FINISHED")] = 10**9
        return reply

    def GetAllActorInfo(self, request: Any) -> Any:  # noqa: N802
        return self._gcs("GetAllActorInfoReply")

    def GetNamedActorInfo(self, request: Any) -> Any:  # noqa: N802
        return self._gcs("GetNamedActorInfoReply")

    def InternalKVGet(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("InternalKVGetReply")
        reply.value = self.kept.get(request.key, b"")
        return reply

    def InternalKVPut(self, request: Any) -> Any:  # noqa: N802
        self.kept[request.key] = request.value
        return self._gcs("InternalKVPutReply")

    def InternalKVKeys(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("InternalKVKeysReply")
        reply.results.extend(f"RemoteFunction:{JOB}:{i}".encode() for i in range(self.functions))
        return reply

    def InternalKVMultiGet(self, request: Any) -> Any:  # noqa: N802
        reply = self._gcs("InternalKVMultiGetReply")
        for key in request.keys:
            name = "module.f" + key.rpartition(b":")[2].decode()
            reply.results.add(key=key, value=pickle.dumps({"function_name": name, "max_calls": 0}))
        return reply


class _Answers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Hands each call to the method of that name, and counts it."""

    def __init__(self, cluster: PlayedCluster, asked: Any) -> None:
        self._cluster, self._asked = cluster, asked

    def service(self, details: Any) -> Any:
        service, _, name = details.method.strip("/").partition("/")
        answer = getattr(self._asked, name, None)
        if answer is None or name in getattr(self._asked, "unknown", ()):
            return None
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]

        def handle(request: Any, context: Any) -> bytes:
            self._cluster.calls[name] += 1
            reply: bytes = answer(request).SerializeToString()
            self._cluster.sent[name] += len(reply)
            return reply

        decode = message_factory.GetMessageClass(method.input_type).FromString
        return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=decode)


@contextmanager
def played_cluster(nodes: int, workers: int, *, functions: int = 3, tasks: int = 1) -> Iterator[PlayedCluster]:
    """A cluster of so many nodes, each with so many idle workers, that this process looks at."""
    for name in ("gcs_service", "node_manager", "core_worker"):
        rpc.messages(name)  # so that their services are known
    cluster, before = PlayedCluster(nodes, workers, functions=functions, tasks=tasks), [*rpc._named]
    try:
        rpc.name_gcs(cluster.address)
        yield cluster
    finally:
        cluster.close()
        processes.forget()
        rpc._named[:] = before
