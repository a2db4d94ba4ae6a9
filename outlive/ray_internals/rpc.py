"""Ray's own gRPC services: the raylet of each node, the GCS, and the workers.

Stubs and messages come with the Ray wheel (`ray.core.generated`), grpcio does not: it is
one of outlive's own dependencies.
`init_grpc_channel` adds the cluster's token; it is in `ray._private.grpc_utils` since Ray 2.52 or so, and was in
`ray._private.utils` before (2.49).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import ray

from outlive.errors import StoreUnavailable

# Both have to be set before grpcio starts up. Without the first, its fork handlers kill the raylet that a later
# ray.init of this process forks ("The current node timed out during startup"); measured: 1 of 2 starts, then 0 of 14.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else grpcio writes to stderr whenever a cluster ends

PATIENCE = 10.0  # seconds for an answer
GCS_PATIENCE = 5.0  # seconds for an answer of the GCS to a command, which then ends in under 10 s
_RECONNECTS = 2000  # milliseconds at most between two tries to connect again; grpcio's default is 2 minutes
_LARGEST = 512 << 20  # bytes of one answer, as Ray's own `max_grpc_message_size`; grpcio's default is 4 MiB


def messages(name: str) -> Any:
    """The messages of `<name>.proto`. They are made at run time, so type checkers do not know them."""
    return importlib.import_module(f"ray.core.generated.{name}_pb2")


def _services(name: str) -> Any:
    return importlib.import_module(f"ray.core.generated.{name}_pb2_grpc")


def _channel(address: str) -> Any:
    try:
        from ray._private.grpc_utils import init_grpc_channel
    except ImportError:
        from ray._private.utils import init_grpc_channel  # type: ignore[attr-defined,no-redef]
    options: list[tuple[str, int]] = [
        ("grpc.enable_http_proxy", 0),  # as Ray's own channels: a cluster is not behind the proxy of `http_proxy`
        ("grpc.max_receive_message_length", _LARGEST),
        ("grpc.max_reconnect_backoff_ms", _RECONNECTS),
    ]
    return init_grpc_channel(address, options)


@lru_cache(maxsize=4096)  # more than a cluster has nodes: they are asked in turn, so a smaller cache would never hit
def _kept_channel(address: str) -> Any:
    return _channel(address)


@lru_cache(maxsize=4096)  # a stub has an object for each of its 30 calls: to make them takes as long as a call
def raylet(address: str) -> Any:
    """Stub of `NodeManagerService` of the node whose raylet listens at `address`."""
    return _services("node_manager").NodeManagerServiceStub(_kept_channel(address))


def gcs(service: str) -> Any:
    """Stub of the GCS's service of this name, such as `JobInfo`, for the cluster of `gcs_address`."""
    stub = getattr(_services("gcs_service"), f"{service}GcsServiceStub")
    return stub(_kept_channel(gcs_address()))


def autoscaler() -> Any:
    """Stub of the GCS's `AutoscalerStateService`."""
    return _services("autoscaler").AutoscalerStateServiceStub(_kept_channel(gcs_address()))


_named: list[str] = []


def name_gcs(address: str) -> None:
    """From now on ask the GCS at `address` (`host:port`), unless this process joins a cluster.

    A command that only looks then starts nothing. Joining would: for the first driver of a node, its raylet starts a
    worker for each CPU (`WorkerPool::RegisterDriver`, `prestart_worker_first_driver`). The command also survives a GCS
    that is away for a minute, which ends a driver.
    """
    _named[:] = [address]


def gcs_address() -> str:
    """The address of the GCS of the cluster that this process has joined, or else of the one that was named.

    Raises
    ------
    StoreUnavailable
        No cluster was joined or named.
    """
    if ray.is_initialized():
        return str(ray.get_runtime_context().gcs_address)
    if not _named:
        raise StoreUnavailable("this process is not connected to a Ray cluster; call ray.init(address=...) first")
    return _named[0]


def worker(address: str) -> AbstractContextManager[Any]:
    """Stub of one worker's `CoreWorkerService`. Its channel ends with the block, because the worker may end."""
    return _stub(address, "core_worker", "CoreWorkerService")


def gcs_at(address: str) -> AbstractContextManager[Any]:
    """Stub of `NodeInfoGcsService` of any cluster, also one that this process is not connected to."""
    return _stub(address, "gcs_service", "NodeInfoGcsService")


def server_of_client(address: str) -> AbstractContextManager[Any]:
    """Stub of `RayletDriver`, Ray Client's server."""
    return _stub(address, "ray_client", "RayletDriver")


@contextmanager
def _stub(address: str, file: str, service: str) -> Iterator[Any]:
    """A stub over a channel that ends with the block."""
    channel = _channel(address)
    try:
        yield getattr(_services(file), f"{service}Stub")(channel)
    finally:
        channel.close()


@contextmanager
def explained(whom: str) -> Iterator[None]:
    """Turn gRPC's errors into one that names the process that did not answer."""
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        code: Any = getattr(error, "code", lambda: None)()
        reason = getattr(code, "name", type(error).__name__).lower().replace("_", " ")
        raise StoreUnavailable(f"{whom} did not answer ({reason}); is the node still alive? See `ray status`") from None
