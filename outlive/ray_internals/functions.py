"""`max_calls`: the value of each remote function, and ending a worker before it is reached."""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection
from typing import Any

import ray
import ray._private.worker as _worker

from outlive.ray_internals import rpc

NEVER = 2**31 - 1
"""A `max_calls` that no worker reaches, so that Ray counts the calls and does not end the worker by itself."""


class _PlainUnpickler(pickle.Unpickler):
    """Reads the function table's records, which are dicts of plain values, and refuses to run anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a record of Ray's function table holds {module}.{name}")


_MANY = 100  # records that one call reads: each holds its function, of some KB or more
_known: dict[tuple[str, bytes], tuple[tuple[str, str], int] | None] = {}
"""The content of a record, by cluster and key. A record never changes."""


def max_calls(jobs: Collection[str], cluster: str) -> dict[tuple[str, str], list[int]]:
    """`max_calls` of every remote function (job, name) of these jobs; 0 means none. One entry for each function of a
    name.

    Ray exports each function to the GCS's key-value store, namespace `fun`, as
    `RemoteFunction:<job>:<function id>` (ray/_private/function_manager.py, 2.49 to 2.60). A record is read once.

    Parameters
    ----------
    cluster
        A name that no other cluster has.
    """
    pb = rpc.messages("gcs_service")
    kv = rpc.gcs("InternalKV")
    with rpc.explained("the GCS"):
        request = pb.InternalKVKeysRequest(prefix=b"RemoteFunction:", namespace=b"fun")
        every = kv.InternalKVKeys(request, timeout=rpc.GCS_PATIENCE).results
        keys = [key for key in every if key.split(b":")[1].decode() in jobs]
        new = [key for key in keys if (cluster, key) not in _known]
        for start in range(0, len(new), _MANY):
            some = pb.InternalKVMultiGetRequest(keys=new[start : start + _MANY], namespace=b"fun")
            for entry in kv.InternalKVMultiGet(some, timeout=rpc.GCS_PATIENCE).results:
                _known[cluster, entry.key] = _declared(entry.key, entry.value)
    found: dict[tuple[str, str], list[int]] = {}
    for declared in (_known.get((cluster, key)) for key in keys):
        if declared is not None:
            found.setdefault(declared[0], []).append(declared[1])
    return found


def _declared(key: bytes, record: bytes) -> tuple[tuple[str, str], int] | None:
    """(job, name) and `max_calls` of one function."""
    try:
        about = _PlainUnpickler(io.BytesIO(record)).load()
        name = str(about["function_name"]).rpartition(".")[2]  # as task events name it
        return (key.split(b":")[1].decode(), name), int(about["max_calls"])
    except (pickle.UnpicklingError, KeyError, IndexError, ValueError, AttributeError, TypeError):
        return None


def end_worker_after_this_task() -> None:
    """Make Ray end this worker once the running task is done, as it does when `max_calls` is reached.

    Ray counts the calls of each function in `FunctionActorManager._num_task_executions` and compares after each task
    (`_raylet.pyx`, `execute_task`): this sets the count of every function that can end a worker to just below its
    `max_calls`. The task's reply tells the owner that the worker leaves, so it sends no further task.
    """
    manager: Any = _worker.global_worker.function_actor_manager
    counts, infos = manager._num_task_executions, manager._function_execution_info
    for function_id, calls in list(counts.items()):
        if limit := getattr(infos.get(function_id), "max_calls", 0):
            counts[function_id] = max(calls, limit - 1)


def in_pooled_worker() -> bool:
    """Whether this process is a worker of the pool: neither a driver nor an actor."""
    worker: Any = _worker.global_worker
    return bool(worker.mode == ray.WORKER_MODE and worker.actor_id.is_nil())


def loaded_none() -> bool:
    """Whether this worker has loaded no function yet, and so has run no task.

    `FunctionActorManager._function_execution_info` gets a function once it is unpickled. Its counts of executions say
    less: Ray counts only functions with a `max_calls`.
    """
    worker: Any = _worker.global_worker
    return not worker.function_actor_manager._function_execution_info


def unwrapped(remote_function: Any) -> tuple[Any, dict[str, Any]]:
    """The plain function of a remote one, and the options that it was declared with.

    Raises
    ------
    TypeError
        It is not a remote function.
    """
    from ray.remote_function import RemoteFunction

    if not isinstance(remote_function, RemoteFunction):
        raise TypeError(
            f"{remote_function!r} is no remote function: put the decorator above @ray.remote(...). Actors and classes "
            "end with ray.kill or max_restarts, not after a task"
        )
    declared: Any = remote_function
    return declared._function, dict(declared._default_options)


def remote(function: Any, options: dict[str, Any]) -> Any:
    """`ray.remote(**options)(function)`."""
    return ray.remote(**options)(function)
