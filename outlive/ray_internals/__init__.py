"""All uses of Ray's private API, one module per use. Each names its source in Ray, and the versions (2.49 to 2.60)."""

from __future__ import annotations

import weakref
from typing import Any

from outlive.errors import OutsideCluster, StoreUnavailable, UnsupportedRay
from outlive.extras import install, named
from outlive.ray_internals.client import is_client

try:
    import ray
    import ray._private.state as _state
    import ray._private.worker as _worker
except ModuleNotFoundError as error:
    raise named(error) from None

OLDEST = 2, 49
if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST:  # pip does not see to it: Ray is an extra
    raise UnsupportedRay(f"outlive needs Ray 2.49 or newer, and this is Ray {ray.__version__}: {install('ray')}")


class Connection:
    """This process's connection to a Ray cluster, as it was when this was made."""

    def __init__(self) -> None:
        worker: Any = _worker.global_worker
        if not worker.connected or worker.node is None:
            raise _why_not()
        self._node = weakref.ref(worker.node)
        # names the cluster: the same on all its nodes, and different for each cluster
        self.cluster: str = worker.node.session_name
        self.job = int(worker.current_job_id.int())
        self.node_id: str = worker.current_node_id.hex()
        started: Any = _worker._global_node
        self.started_cluster = started is not None and started.is_head() and worker.mode == ray.SCRIPT_MODE
        """Whether this process started the cluster, which will end with it."""

    def stands(self) -> bool:
        """Whether the process is still connected to the same cluster. Takes well under a microsecond."""
        node: Any = _worker.global_worker.node
        return node is not None and self._node() is node


def in_worker() -> bool:
    """Whether this process is one of Ray's workers: it runs tasks, or is the home of an actor."""
    return bool(_worker.global_worker.mode == ray.WORKER_MODE)


def jobs_that_ended(numbers: set[int]) -> set[int]:
    """The jobs among these that have ended, for any reason. A job that Ray no longer knows has ended too.

    Source: `ray._private.state.GlobalState.job_table`, which asks the GCS.
    """
    jobs: list[dict[str, Any]] = _state.state.job_table()  # type: ignore[no-untyped-call]
    ended = {int.from_bytes(bytes.fromhex(job["JobID"]), "little"): job["IsDead"] for job in jobs}
    return {number for number in numbers if ended.get(number, True)} if ended else set()


def _why_not() -> StoreUnavailable:
    if is_client():
        return OutsideCluster(
            "Ray Client (ray://) runs this program outside the cluster, where no array can be mapped; "
            "run this in a task, or on a node of the cluster, e.g. with `ray job submit`"
        )
    return StoreUnavailable(
        "this process is not connected to a Ray cluster; call outlive.open(), or ray.init(address=...) first"
    )
