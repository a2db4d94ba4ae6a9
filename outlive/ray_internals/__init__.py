"""All that touches Ray's private API, one module per use. Each says which, and since when it holds (2.49 to 2.60)."""

from __future__ import annotations

import weakref
from typing import Any

import ray
import ray._private.worker as _worker

from outlive.errors import StoreUnavailable


class Connection:
    """This process's connection to a Ray cluster, as it was when this was made."""

    def __init__(self) -> None:
        worker: Any = _worker.global_worker
        if not worker.connected or worker.node is None:
            raise StoreUnavailable(_why_not())
        self._node = weakref.ref(worker.node)
        self.cluster: str = worker.node.session_name  # the same on all nodes of a cluster, and of no other
        self.node_id: str = worker.current_node_id.hex()
        started: Any = _worker._global_node
        self.started_cluster = started is not None and started.is_head() and worker.mode == ray.SCRIPT_MODE
        """This process started the cluster, which will end with it."""

    def stands(self) -> bool:
        """The process is still connected, and to the same cluster. Takes well under a microsecond."""
        node: Any = _worker.global_worker.node
        return node is not None and self._node() is node


def _why_not() -> str:
    from ray.util.client import ray as client

    if client.is_connected():  # type: ignore[no-untyped-call]
        return (
            "Ray Client (ray://) runs this program outside the cluster, where no array can be mapped; "
            "run it on a node of the cluster, e.g. with `ray job submit`"
        )
    return "this process is not connected to a Ray cluster; call outlive.open(), or ray.init(address=...) first"
